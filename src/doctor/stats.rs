//! What `fusex bpf-stats` can see here. A mount works without.

use super::Check;
use crate::stats::Split;
use crate::stats::tier::{Source, Tier};

const NAME: &str = "bpf-stats";

/// The tier, and a warning for each part that is not there.
pub(super) fn checks(tier: &Tier) -> Vec<Check> {
    let split = match tier.split {
        Split::None => "queue and service time not told apart".to_string(),
        known => format!("queue and service time by {}", known.name()),
    };
    let found = match tier.source {
        // The cure is that of what is missing.
        Source::None => Check::warn(NAME, "tier none: nothing is counted", ""),
        source => {
            let counts = format!("requests are counted by {}, {split}", source.name());
            Check::ok(NAME, format!("tier {}: {counts}", tier.name()))
        }
    };
    let missing = tier.missing.iter().map(|missing| {
        Check::warn(NAME, format!("{}: {}", missing.what, missing.why), &missing.cure)
    });
    std::iter::once(found).chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::tier::Missing;

    #[test]
    fn each_missing_part_has_its_line() {
        let missing = Missing { what: "the split", why: "no BTF".into(), cure: "boot X".into() };
        let tier =
            Tier { source: Source::Tracepoints, split: Split::Syscall, missing: vec![missing] };
        let lines: Vec<String> = checks(&tier).iter().map(Check::to_string).collect();
        let first = "ok    bpf-stats: tier trace: requests are counted by tracepoints, queue and \
                     service time by read-syscall";
        assert_eq!(lines, [first, "warn  bpf-stats: the split: no BTF: boot X"]);
        let nothing = checks(&Tier::default());
        assert_eq!(nothing[0].to_string(), "warn  bpf-stats: tier none: nothing is counted");
    }
}
