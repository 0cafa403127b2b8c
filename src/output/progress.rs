//! What is shown while something takes long: on stderr, and only if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plain;

/// Steps of a bar whose length is no number of things.
pub(super) const STEPS: u64 = 1000;
const TEMPLATE: &str = "{prefix} {elapsed_precise} [{wide_bar}] {msg}";

/// A bar, gone when it is dropped.
#[derive(Debug)]
pub struct Bar(pub(super) ProgressBar);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Bar {
    /// A bar for something of this name.
    pub fn new(name: &'static str) -> Bar {
        let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
        // It is checked by a test.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        bar.set_prefix(name);
        Bar(bar)
    }

    /// So many of so many things are done, and what is being done.
    pub fn at(&self, done: u64, total: u64, what: &str) {
        self.0.set_length(total);
        self.0.set_position(done);
        self.0.set_message(plain(what));
    }

    /// What is done now, where nobody knows how long it takes.
    pub fn doing(&self, what: &str) {
        self.0.set_message(plain(what));
        self.0.enable_steady_tick(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_sound() {
        ProgressStyle::with_template(TEMPLATE).unwrap();
    }
}
