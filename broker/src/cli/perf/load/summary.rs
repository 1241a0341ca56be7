//! The figures of a run, for people and for programs.
//!
//! ```text
//!   load 127.0.0.1:5672
//!   publishers 1  consumers 1  ...
//!
//!   published      25812345    2581234/s
//!   ...
//!   latency, µs       min  p50  p75  p95  p99  p99.9  max  samples
//!   end to end         38  ...
//!
//!   end to end
//!       50 to      100 µs  ########                        21.3 %
//! ```
//!
//! Invariant: both forms hold the same figures under the same names.

use std::fmt::Write as _;
use std::time::Duration;

use super::super::arguments::Format;
use super::super::histogram::{Band, Histogram};
use super::super::report::{Cell, json, micros, per_second};
use super::arguments::{Load, Ping};
use super::meter::Counts;
use super::monitor::Figures;

/// How long the bar of a band that holds everything would be.
const BAR_LEN: f64 = 50.0;
/// The percentiles, by the names of their figures and of their columns.
const PERCENTILES: [(&str, &str, f64); 5] = [
    ("p50_us", "p50", 0.5),
    ("p75_us", "p75", 0.75),
    ("p95_us", "p95", 0.95),
    ("p99_us", "p99", 0.99),
    ("p999_us", "p99.9", 0.999),
];

/// The figures of a run.
#[derive(Debug)]
pub(super) struct Summary<'a> {
    case: &'static str,
    target: &'a str,
    /// What was asked for.
    options: Vec<(&'static str, Cell)>,
    size: u64,
    figures: &'a Figures,
}

/// The summary of a load.
pub(super) fn of_load<'a>(load: &Load, target: &'a str, figures: &'a Figures) -> Summary<'a> {
    let bindings = load.bindings.map(|count| Cell::from(u64::from(count)));
    let rate = load.rate.map(|rate| Cell::from(u64::from(rate)));
    Summary {
        case: "load",
        target,
        options: vec![
            ("publishers", Cell::from(u64::from(load.publishers))),
            ("consumers", Cell::from(u64::from(load.consumers))),
            ("queues", Cell::from(u64::from(load.queues))),
            ("exchange_type", Cell::from(load.exchange_type.name())),
            ("bindings", bindings.unwrap_or(Cell::Nothing)),
            ("size", Cell::from(load.size)),
            ("persistent", Cell::from(load.persistent)),
            ("properties", Cell::from(load.properties)),
            ("confirm", Cell::from(u64::from(load.confirm))),
            ("ack", Cell::from(load.ack.text().as_str())),
            ("prefetch", Cell::from(u64::from(load.prefetch()))),
            ("rate", rate.unwrap_or(Cell::Nothing)),
        ],
        size: load.size,
        figures,
    }
}

/// The summary of pinging.
pub(super) fn of_ping<'a>(ping: &Ping, target: &'a str, figures: &'a Figures) -> Summary<'a> {
    Summary {
        case: "ping",
        target,
        options: vec![
            ("size", Cell::from(ping.size)),
            ("rate", Cell::from(u64::from(ping.rate))),
        ],
        size: ping.size,
        figures,
    }
}

impl Summary<'_> {
    /// The whole as text that ends with a line break.
    pub(super) fn print(&self, format: Format) -> String {
        match format {
            Format::Json => self.json(),
            Format::Text => self.text(),
        }
    }

    fn json(&self) -> String {
        let Figures {
            counts, latencies, ..
        } = self.figures;
        let mut fields = vec![
            ("case", Cell::from(self.case)),
            ("target", Cell::from(self.target)),
        ];
        fields.extend(self.options.iter().cloned());
        fields.extend([
            ("ended", Cell::from(self.figures.ended)),
            ("seconds", self.seconds()),
            (
                "cpu_seconds",
                Cell::Number(self.figures.cpu.as_secs_f64(), 3),
            ),
            ("published", Cell::from(counts.published)),
            ("confirmed", Cell::from(counts.confirmed)),
            ("nacked", Cell::from(counts.nacked)),
            ("received", Cell::from(counts.received)),
            ("redelivered", Cell::from(counts.redelivered)),
            ("published_per_s", self.rate(counts.published)),
            ("confirmed_per_s", self.rate(counts.confirmed)),
            ("received_per_s", self.rate(counts.received)),
            ("latency", latency(&latencies.end_to_end)),
            ("confirm_latency", latency(&latencies.confirm)),
        ]);
        json(&Cell::Object(fields)) + "\n"
    }

    fn seconds(&self) -> Cell {
        Cell::Number(self.figures.elapsed.as_secs_f64(), 3)
    }

    fn rate(&self, count: u64) -> Cell {
        per_second(count, self.figures.elapsed)
    }

    fn text(&self) -> String {
        let mut text = format!("{} {}\n", self.case, self.target);
        let options = self
            .options
            .iter()
            .filter(|(_, cell)| *cell != Cell::Nothing);
        let options =
            options.map(|(name, cell)| format!("{} {}", name.replace('_', " "), json(cell)));
        let options = options.collect::<Vec<_>>().join("  ").replace('"', "");
        let _ = writeln!(text, "{options}");
        let seconds = json(&self.seconds());
        let cpu = self.figures.cpu.as_secs_f64();
        let _ = writeln!(
            text,
            "{seconds} s measured, ended by {}; this process took {cpu:.3} s of the processors\n",
            self.figures.ended
        );
        self.write_counts(&mut text);
        self.write_latencies(&mut text);
        text
    }

    fn write_counts(&self, text: &mut String) {
        let Counts {
            published,
            confirmed,
            nacked,
            received,
            redelivered,
        } = self.figures.counts;
        let counts = [
            ("published", published, true),
            ("confirmed", confirmed, confirmed > 0),
            ("nacked", nacked, nacked > 0),
            ("received", received, true),
            ("redelivered", redelivered, redelivered > 0),
        ];
        for (name, count, _) in counts.into_iter().filter(|(_, _, shown)| *shown) {
            let rate = json(&self.rate(count));
            let bytes = json(&Cell::Number(self.megabytes_per_s(count), 1));
            let _ = writeln!(text, "{name:<11} {count:>12} {rate:>10}/s {bytes:>10} MB/s");
        }
    }

    fn megabytes_per_s(&self, count: u64) -> f64 {
        let seconds = self.figures.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        (count * self.size) as f64 / 1e6 / seconds
    }

    fn write_latencies(&self, text: &mut String) {
        let latencies = &self.figures.latencies;
        let kinds = [
            ("end to end", &latencies.end_to_end),
            ("confirm", &latencies.confirm),
        ];
        let measured: Vec<_> = kinds.into_iter().filter(|(_, of)| of.count() > 0).collect();
        if measured.is_empty() {
            text.push_str("\nno latency was measured\n");
            return;
        }
        let names = PERCENTILES
            .map(|(_, name, _)| format!("{name:>9}"))
            .concat();
        let _ = writeln!(
            text,
            "\nlatency, µs{:>9}{names}{:>10}{:>11}",
            "min", "max", "samples"
        );
        for (name, histogram) in &measured {
            let _ = writeln!(text, "{name:<11}{}", row(histogram));
        }
        for (name, histogram) in measured {
            let _ = writeln!(text, "\n{name}");
            for band in histogram.bands() {
                text.push_str(&bar(&band, histogram.count()));
            }
        }
    }
}

fn row(histogram: &Histogram) -> String {
    let cell = |duration: Duration| json(&micros(duration));
    let percentiles =
        PERCENTILES.map(|(_, _, share)| format!("{:>9}", cell(histogram.percentile(share))));
    format!(
        "{:>9}{}{:>10}{:>11}",
        cell(histogram.min()),
        percentiles.concat(),
        cell(histogram.max()),
        histogram.count()
    )
}

/// One line of the histogram. Whatever is not empty has a bar.
fn bar(band: &Band, all: u64) -> String {
    let share = band.count as f64 / all.max(1) as f64;
    let len = (share * BAR_LEN).ceil() as usize;
    let micros = |duration: Duration| duration.as_nanos() / 1000;
    let (from, to) = (micros(band.from), micros(band.to));
    let percent = share * 100.0;
    let bar = "#".repeat(len);
    format!("{from:>9} to {to:>9} µs {percent:>6.2} %  {bar}")
        .trim_end()
        .to_owned()
        + "\n"
}

/// A histogram's figures; nothing if it is empty.
fn latency(histogram: &Histogram) -> Cell {
    if histogram.count() == 0 {
        return Cell::Nothing;
    }
    let mut fields = vec![
        ("samples", Cell::from(histogram.count())),
        ("min_us", micros(histogram.min())),
    ];
    let percentiles = PERCENTILES.iter();
    fields
        .extend(percentiles.map(|(name, _, share)| (*name, micros(histogram.percentile(*share)))));
    let band = |band: Band| {
        Cell::Object(vec![
            ("from_us", whole_micros(band.from)),
            ("to_us", whole_micros(band.to)),
            ("count", Cell::from(band.count)),
        ])
    };
    let bands = histogram.bands().into_iter().map(band).collect();
    fields.extend([
        ("max_us", micros(histogram.max())),
        ("histogram", Cell::List(bands)),
    ]);
    Cell::Object(fields)
}

fn whole_micros(duration: Duration) -> Cell {
    Cell::Number(duration.as_secs_f64() * 1e6, 0)
}

#[cfg(test)]
mod tests {
    use super::super::meter::Latencies;
    use super::*;

    fn figures() -> Figures {
        let mut latencies = Latencies::default();
        for micros in [3, 4, 30, 40] {
            latencies.end_to_end.record(Duration::from_micros(micros));
        }
        Figures {
            ended: "duration",
            elapsed: Duration::from_secs(2),
            counts: Counts {
                published: 5_000,
                received: 4_000,
                ..Default::default()
            },
            latencies,
            cpu: Duration::from_millis(1_500),
        }
    }

    fn summary(figures: &Figures) -> Summary<'_> {
        Summary {
            case: "load",
            target: "a:1",
            options: vec![
                ("exchange_type", Cell::from("topic")),
                ("rate", Cell::Nothing),
            ],
            size: 1_000,
            figures,
        }
    }

    #[test]
    fn text_shows_rates_percentiles_and_bars() {
        let figures = figures();
        let expected = "\
load a:1
exchange type topic
2.000 s measured, ended by duration; this process took 1.500 s of the processors

published           5000       2500/s        2.5 MB/s
received            4000       2000/s        2.0 MB/s

latency, µs      min      p50      p75      p95      p99    p99.9       max    samples
end to end       3.0      4.0     30.1     40.0     40.0     40.0      40.0          4

end to end
        2 to         5 µs  50.00 %  #########################
        5 to        10 µs   0.00 %
       10 to        20 µs   0.00 %
       20 to        50 µs  50.00 %  #########################
";
        assert_eq!(summary(&figures).print(Format::Text), expected);
    }

    #[test]
    fn json_holds_the_same_and_says_null_for_what_is_not_measured() {
        let figures = figures();
        let text = summary(&figures).print(Format::Json);
        let expected = concat!(
            r#"{"case":"load","target":"a:1","exchange_type":"topic","rate":null,"#,
            r#""ended":"duration","seconds":2.000,"cpu_seconds":1.500,"#,
            r#""published":5000,"confirmed":0,"nacked":0,"received":4000,"redelivered":0,"#,
            r#""published_per_s":2500,"confirmed_per_s":0,"received_per_s":2000,"#,
            r#""latency":{"samples":4,"min_us":3.0,"p50_us":4.0,"p75_us":30.1,"p95_us":40.0,"#,
            r#""p99_us":40.0,"p999_us":40.0,"max_us":40.0,"histogram":["#,
            r#"{"from_us":2,"to_us":5,"count":2},{"from_us":5,"to_us":10,"count":0},"#,
            r#"{"from_us":10,"to_us":20,"count":0},{"from_us":20,"to_us":50,"count":2}]},"#,
            r#""confirm_latency":null}"#,
            "\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_run_without_latencies_says_so() {
        let mut figures = figures();
        figures.latencies = Latencies::default();
        let text = summary(&figures).print(Format::Text);
        assert!(text.ends_with("\n\nno latency was measured\n"), "{text}");
    }
}
