//! A progress bar on the standard error, if somebody looks at it.

use std::io::{IsTerminal as _, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use leveret_conformance::report::one_line;
use leveret_conformance::{Finished, Progress, Verdict};

/// How often the elapsed time moves on while no test ends.
const TICK: Duration = Duration::from_millis(250);
/// The bar, the tests that have ended and failed, the time, and the test that started last.
const TEMPLATE: &str = "{bar:30} {pos}/{len} {prefix} {elapsed} {wide_msg}";

/// The bar. It is hidden where the standard error is no terminal.
pub(super) struct Bar {
    bar: ProgressBar,
    failed: usize,
}

impl Bar {
    pub(super) fn new() -> Self {
        let target = match stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self { bar, failed: 0 }
    }

    pub(super) fn show(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Selected(tests) => self.bar.set_length(tests as u64),
            Progress::Started(rule) => self.bar.set_message(rule.name()),
            Progress::Ended(finished) => self.end(finished),
            Progress::EndsEarly(reason) => {
                let text = format!("{}: what runs is cleaned up", one_line(reason));
                self.bar.println(text);
            }
        }
    }

    fn end(&mut self, finished: &Finished) {
        if let Verdict::Failed(failure) = &finished.verdict {
            self.failed += 1;
            self.bar.set_prefix(format!("{} failed", self.failed));
            let text = format!("FAILED {}: {}", finished.rule.name(), failure.text());
            self.bar.println(one_line(&text));
        }
        self.bar.inc(1);
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
