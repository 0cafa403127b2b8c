//! `fusex bpf-stats --live`: the terminal, and the loop of keys and measurements.
//!
//! The terminal is as it was on every way out: keys, errors, SIGINT, SIGTERM, SIGHUP, and a
//! panic, which ends the program without running destructors.

use std::fs::File;
use std::io::{self, IsTerminal, Stdout};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::exit::{Exit, Failure};
use crate::output::live::{After, Colors, Live, action};
use crate::stats::Snapshot;
use crate::stats::tier::Tier;

/// No signal waits longer than that.
const PATIENCE: Duration = Duration::from_millis(200);

/// Shows what `snapshot` says, each interval anew, until the user has seen enough. A snapshot has
/// counts since the measurement began.
///
/// # Errors
/// Stdout is no terminal that can show it, or `snapshot` fails.
pub fn run(
    tier: &Tier,
    interval: Duration,
    mut snapshot: impl FnMut() -> anyhow::Result<Snapshot>,
) -> anyhow::Result<Exit> {
    let colors = colors()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone()).context("signals")?;
    }
    let mut live = Live::new(tier.clone(), colors, interval, snapshot()?);
    let mut screen = Screen::open()?;
    let ended = until_the_end(&mut screen, &mut live, &stop, &mut snapshot);
    drop(screen);
    // A terminal that went away is no failure.
    ended.or_else(|error| if stop.load(Ordering::Acquire) { Ok(()) } else { Err(error) })?;
    Ok(Exit::Success)
}

/// The colours of the terminal that stdout is.
fn colors() -> Result<Colors, Failure> {
    let unable = |message: String| Err(Failure { exit: Exit::Usage, message });
    if !io::stdout().is_terminal() {
        let cure = "leave out --live for reports as text, or use --json for programs";
        return unable(format!("--live: stdout is not a terminal: {cure}"));
    }
    let variable = |name| std::env::var(name).unwrap_or_default();
    let term = variable("TERM");
    if matches!(term.as_str(), "" | "dumb" | "unknown") {
        let cure = "set TERM to what the terminal is, or leave out --live";
        return unable(format!("--live: TERM={term}: nothing can be placed there: {cure}"));
    }
    Ok(Colors::of(&term, &variable("COLORTERM"), !variable("NO_COLOR").is_empty()))
}

fn until_the_end(
    screen: &mut Screen,
    live: &mut Live,
    stop: &AtomicBool,
    snapshot: &mut impl FnMut() -> anyhow::Result<Snapshot>,
) -> anyhow::Result<()> {
    let mut measured = Instant::now();
    let mut drawn = false;
    while !stop.load(Ordering::Acquire) {
        if !drawn {
            screen.terminal.draw(|frame| live.draw(frame)).context("--live: drawing")?;
        }
        drawn = true;
        let left = live.interval().saturating_sub(measured.elapsed());
        for event in screen.keys.events(left.min(PATIENCE))? {
            drawn = false;
            let asked = if let Event::Key(key) = event { action(key) } else { None };
            match asked.map(|asked| live.apply(asked)) {
                Some(After::Quit) => return Ok(()),
                Some(After::Redraw) => screen.terminal.clear().context("--live: drawing")?,
                Some(After::Draw) | None => {}
            }
        }
        if measured.elapsed() >= live.interval() {
            measured = Instant::now();
            live.take(snapshot()?);
            drawn = false;
        }
    }
    Ok(())
}

/// The terminal that keys come from: stdin, or another one where that is none.
struct Keys(File);

impl Keys {
    fn open() -> io::Result<Keys> {
        match io::stdin() {
            stdin if stdin.is_terminal() => Ok(Keys(stdin.as_fd().try_clone_to_owned()?.into())),
            _ => Ok(Keys(File::open("/dev/tty")?)),
        }
    }

    /// Keys, and other sizes of the terminal, as soon as there are any.
    fn events(&self, wait: Duration) -> anyhow::Result<Vec<Event>> {
        let failed = "--live: reading keys";
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        // What is left of a millisecond counts as one: no busy waiting for it.
        let timeout = u16::try_from(wait.as_millis() + 1).unwrap_or(u16::MAX);
        match poll(&mut fds, timeout) {
            // Another size comes with a signal.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context(failed),
        }
        // On a terminal that is gone, crossterm reads for ever and returns to nobody.
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        if fds[0].revents().is_some_and(|what| what.intersects(gone)) {
            bail!("{failed}: the terminal is gone");
        }
        let mut events = Vec::new();
        while event::poll(Duration::ZERO).context(failed)? {
            events.push(event::read().context(failed)?);
        }
        Ok(events)
    }
}

/// The terminal, taken; given back when it is dropped.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    keys: Keys,
}

impl Screen {
    fn open() -> anyhow::Result<Screen> {
        let keys = Keys::open().context("--live: no terminal to read keys from")?;
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |why| {
            give_back();
            before(why);
        }));
        enable_raw_mode().context("--live: no terminal to read keys from")?;
        let opened = execute!(io::stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        if opened.is_err() {
            give_back();
        }
        Ok(Screen { terminal: opened.context("--live: stdout")?, keys })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// As far as that is possible: a terminal that is gone needs nothing.
fn give_back() {
    let _ = disable_raw_mode();
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
}
