//! The lines of the control socket: one JSON object each way.
//!
//! `{"request":"status"}` is answered with `{"ok":{...}}` or `{"error":"one line"}`.

use serde::{Deserialize, Serialize};

/// The longest line in bytes, its end included.
pub const LONGEST: usize = 4096;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub enum Request {
    /// Numbers and pids: [`Status`].
    Status,
    /// A new worker in place of the running one; answered when it serves.
    Restart,
    /// Unmount and end; answered when the mount is gone.
    Stop,
    /// Go on with a new version of the program.
    Upgrade,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Done; the status as of then.
    Ok(Box<Status>),
    /// Not done: one line.
    Error(String),
}

/// How a mount is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of this form: 1.
    pub schema: u32,
    /// Where it is mounted.
    pub mount_point: Option<String>,
    /// The connection's id.
    pub connection: Option<u32>,
    /// Counts workers; the first is 0.
    pub generation: u64,
    /// 0 while there is none.
    pub worker_pid: u64,
    /// The supervisor that answered.
    pub supervisor_pid: u64,
    /// 0 while there is none.
    pub standby_pid: u64,
    /// 0 while there is none.
    pub reserve_pid: u64,
    /// The worker's successor; 0 while there is none.
    pub spare_pid: u64,
    /// All of them; by cause in the next four.
    pub worker_deaths: u64,
    /// SIGKILL that fusex did not send, or unknown.
    pub deaths_killed: u64,
    /// Another signal.
    pub deaths_signal: u64,
    /// Exit, whatever the status.
    pub deaths_exit: u64,
    /// Killed by the supervisor as it hung.
    pub deaths_timeout: u64,
    /// Workers replaced on purpose.
    pub restarts: u64,
    /// Supervisors whose place a standby took.
    pub supervisor_deaths: u64,
    /// From the last death to the first read of the next worker, in nanoseconds.
    pub last_takeover_ns: u64,
    /// Requests of dead workers, finished from their slots.
    pub recovered_from_slots: u64,
    /// Requests that the kernel sent again.
    pub recovered_resent: u64,
    /// Stored replies sent once more.
    pub recovered_from_journal: u64,
    /// Requests for which the lower tree said whether they had happened.
    pub recovered_probed: u64,
    /// Requests answered EIO because workers died of them.
    pub poisoned: u64,
    /// Lookup counts kept though nobody may know them.
    pub leaked_lookups: u64,
    /// Records that did not pass their check.
    pub damaged_records: u64,
    /// Replies whose data went through a pipe, without being copied by the worker.
    pub spliced: u64,
    /// Replies that were to go so and were copied, as there was less data than was said.
    pub splice_fallbacks_short: u64,
    /// As the pipe has too few buffers.
    pub splice_fallbacks_full: u64,
    /// As the kernel refused.
    pub splice_fallbacks_refused: u64,
    /// As the data had to be looked at.
    pub splice_fallbacks_examined: u64,
    /// Calls of splice(2) that moved bytes, requests and their data.
    pub splices: u64,
    /// The room of a thread's pipe, in bytes; 0 while there is none.
    pub pipe_bytes: u64,
    /// Inodes that the kernel knows.
    pub inodes: u64,
    /// Open files and directories.
    pub open_files: u64,
}

impl Status {
    /// Names and values for people, in order; without what only programs want.
    pub fn lines(&self) -> Vec<(String, String)> {
        let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(self) else {
            return Vec::new();
        };
        let text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text.escape_debug().to_string(),
            serde_json::Value::Null => "unknown".to_string(),
            other => other.to_string(),
        };
        let fields = fields.into_iter().filter(|(name, _)| name != "schema");
        fields.map(|(name, value)| (name.replace('_', " "), text(value))).collect()
    }
}

/// The request in a line that anybody may have written.
///
/// # Errors
/// One line that says what is wrong with it.
pub fn parse(line: &[u8]) -> Result<Request, String> {
    serde_json::from_slice(line).map_err(|error| {
        format!("not a request: {error}: send {{\"request\":\"status\"}} and a newline")
    })
}

/// A line, its end included.
pub fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        assert_eq!(parse(br#"{"request":"status"}"#), Ok(Request::Status));
        assert_eq!(parse(br#"{"request":"upgrade","program":"/x"}"#), Ok(Request::Upgrade));
        assert_eq!(line(&Request::Stop), b"{\"request\":\"stop\"}\n");
    }

    #[test]
    fn anything_else_is_refused_in_one_line() {
        let deep = "[".repeat(4000);
        let bad: [&[u8]; 6] =
            [b"", b"{}", b"\xff\0\x01", b"{\"request\":\"x\"}", b"[1", deep.as_bytes()];
        for bytes in bad {
            let error = parse(bytes).unwrap_err();
            assert!(error.starts_with("not a request") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_keys_of_a_status() {
        let answer = Answer::Ok(Box::new(Status { schema: 1, ..Status::default() }));
        let value = serde_json::to_value(&answer).unwrap();
        let wanted = "schema mount_point connection generation worker_pid supervisor_pid \
            standby_pid worker_deaths supervisor_deaths last_takeover_ns recovered_from_slots \
            recovered_resent recovered_from_journal recovered_probed leaked_lookups inodes \
            open_files";
        for key in wanted.split_whitespace() {
            assert!(value["ok"].get(key).is_some(), "{key}");
        }
        let back: Answer = serde_json::from_value(value).unwrap();
        assert_eq!(back, answer);
        assert!(line(&answer).len() < LONGEST);
    }
}
