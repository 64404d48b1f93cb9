//! From samples to tables, and from tables into the page.

use super::loads::{Load, Section};
use super::measure::{Contestant, Sample};
use super::peers::Peer;
use std::fmt::Write;

/// The samples of one load, by contestant, in the order they were taken.
pub struct Row<'l> {
    /// The load.
    pub load: &'l Load,
    /// Who took part, and what each round gave.
    pub taken: Vec<(Contestant, Vec<Sample>)>,
}

/// The middle value; of an even number, the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match (values.get(half), values.len() % 2) {
        (Some(upper), 1) => *upper,
        (Some(upper), _) => (upper + values[half - 1]) / 2.0,
        (None, _) => f64::NAN,
    }
}

impl Row<'_> {
    fn samples(&self, peer: Peer, threads: u32) -> &[Sample] {
        let wanted = Contestant { peer, threads };
        let found = self.taken.iter().find(|(c, _)| *c == wanted);
        found.map_or(&[], |(_, samples)| samples)
    }

    fn median(&self, peer: Peer, threads: u32, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples(peer, threads).iter().map(of).collect())
    }

    /// Ratio of medians, and the least and greatest ratio of one round.
    fn ratio(
        &self,
        (above, below): ((Peer, u32), (Peer, u32)),
        of: impl Fn(&Sample) -> f64,
    ) -> String {
        let ratio = self.median(above.0, above.1, &of) / self.median(below.0, below.1, &of);
        let pairs = self
            .samples(above.0, above.1)
            .iter()
            .zip(self.samples(below.0, below.1));
        let rounds: Vec<f64> = pairs.map(|(a, b)| of(a) / of(b)).collect();
        let least = rounds.iter().copied().fold(f64::NAN, f64::min);
        let greatest = rounds.iter().copied().fold(f64::NAN, f64::max);
        if ratio.is_nan() {
            return "–".into();
        }
        format!("**{ratio:.2}** ({least:.2}–{greatest:.2})")
    }
}

/// A number, or a dash where there is none.
fn shown(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "–".into();
    }
    format!("{value:.digits$}")
}

const OURS: ((Peer, u32), (Peer, u32)) = ((Peer::Mulgil, 1), (Peer::Haproxy, 1));

/// The table of a section.
pub fn table(section: Section, rows: &[Row<'_>]) -> String {
    match section {
        Section::Http => http(rows),
        Section::Memory => memory(rows),
        Section::Workers => workers(rows),
        Section::Lists | Section::Tls | Section::Choosing => per_request(rows),
        Section::Tcp => tcp(rows),
        Section::Udp => udp(rows),
    }
}

fn http(rows: &[Row<'_>]) -> String {
    let mut out = String::from(
        "| load | mulgil µs | haproxy µs | nginx µs | mulgil / haproxy (rounds) | mulgil req/s \
         | haproxy req/s | mulgil p99 µs | haproxy p99 µs | ends µs, mulgil | ends µs, haproxy |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let of = |peer, of: fn(&Sample) -> f64, digits| shown(row.median(peer, 1, of), digits);
        let us: fn(&Sample) -> f64 = |s| s.cpu / 1000.0;
        let ends: fn(&Sample) -> f64 = |s| s.ends / 1000.0;
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.load.title(),
            of(Peer::Mulgil, us, 1),
            of(Peer::Haproxy, us, 1),
            of(Peer::Nginx, us, 1),
            row.ratio(OURS, us),
            of(Peer::Mulgil, |s| s.per_second, 0),
            of(Peer::Haproxy, |s| s.per_second, 0),
            of(Peer::Mulgil, |s| s.p99, 0),
            of(Peer::Haproxy, |s| s.p99, 0),
            of(Peer::Mulgil, ends, 1),
            of(Peer::Haproxy, ends, 1),
        );
    }
    out
}

fn memory(rows: &[Row<'_>]) -> String {
    let mut out = String::from(
        "| resident memory | mulgil KiB | haproxy KiB | mulgil / haproxy (rounds) |\n\
         |---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            row.load.title(),
            shown(row.median(Peer::Mulgil, 1, |s| s.rss), 0),
            shown(row.median(Peer::Haproxy, 1, |s| s.rss), 0),
            row.ratio(OURS, |s| s.rss)
        );
    }
    out
}

fn workers(rows: &[Row<'_>]) -> String {
    let mut out = String::from(
        "| proxy | one worker µs | two workers µs | two / one (rounds) | the busier worker's part |\n\
         |---|---|---|---|---|\n",
    );
    for row in rows {
        for peer in [Peer::Mulgil, Peer::Haproxy] {
            let us = |s: &Sample| s.cpu / 1000.0;
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} % |",
                peer.name(),
                shown(row.median(peer, 1, us), 1),
                shown(row.median(peer, 2, us), 1),
                row.ratio(((peer, 2), (peer, 1)), us),
                shown(row.median(peer, 2, Sample::busiest) * 100.0, 0),
            );
        }
    }
    out
}

fn per_request(rows: &[Row<'_>]) -> String {
    let mut out = String::from(
        "| load | mulgil µs | haproxy µs | mulgil / haproxy (rounds) | mulgil per CPU second \
         | haproxy per CPU second |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let us = |s: &Sample| s.cpu / 1000.0;
        let per_second = |s: &Sample| 1e9 / s.cpu;
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            row.load.title(),
            shown(row.median(Peer::Mulgil, 1, us), 1),
            shown(row.median(Peer::Haproxy, 1, us), 1),
            row.ratio(OURS, us),
            shown(row.median(Peer::Mulgil, 1, per_second), 0),
            shown(row.median(Peer::Haproxy, 1, per_second), 0),
        );
    }
    out
}

fn udp(rows: &[Row<'_>]) -> String {
    let mut out = String::from(
        "| datagrams | mulgil µs | nginx µs | mulgil / nginx (rounds) | mulgil /s | nginx /s |\n\
         |---|---|---|---|---|---|\n",
    );
    for row in rows {
        let us = |s: &Sample| s.cpu / 1000.0;
        let rate = |s: &Sample| s.per_second;
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            row.load.title(),
            shown(row.median(Peer::Mulgil, 1, us), 2),
            shown(row.median(Peer::Nginx, 1, us), 2),
            row.ratio(((Peer::Mulgil, 1), (Peer::Nginx, 1)), us),
            shown(row.median(Peer::Mulgil, 1, rate), 0),
            shown(row.median(Peer::Nginx, 1, rate), 0),
        );
    }
    out
}

fn tcp(rows: &[Row<'_>]) -> String {
    let mut out = String::from(
        "| TCP mode | mulgil CPU s | haproxy CPU s | mulgil / haproxy (rounds) \
         | mulgil /s | haproxy /s |\n|---|---|---|---|---|---|\n",
    );
    const GIB: f64 = (1u64 << 30) as f64;
    for row in rows {
        let unit = if row.load.is_transfer() { GIB } else { 1000.0 };
        let seconds = |s: &Sample| s.cpu * unit / 1e9;
        let rate = |s: &Sample| s.per_second / unit;
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            row.load.title(),
            shown(row.median(Peer::Mulgil, 1, seconds), 3),
            shown(row.median(Peer::Haproxy, 1, seconds), 3),
            row.ratio(OURS, seconds),
            shown(row.median(Peer::Mulgil, 1, rate), 2),
            shown(row.median(Peer::Haproxy, 1, rate), 2),
        );
    }
    out
}

/// A line for each load in which the floor took part: its own ratios to those that are known, and ours to it.
pub fn floors(rows: &[Row<'_>]) -> String {
    let mut out = String::new();
    let took_part = |row: &&Row<'_>, peer| !row.samples(peer, 1).is_empty();
    for row in rows.iter().filter(|row| took_part(row, Peer::Floor)) {
        let us = |s: &Sample| s.cpu / 1000.0;
        let cost = row.median(Peer::Floor, 1, us);
        let _ = write!(out, "{}: the floor takes {cost:.2} µs", row.load.title());
        for (above, below) in [
            (Peer::Floor, Peer::Haproxy),
            (Peer::Floor, Peer::Nginx),
            (Peer::Mulgil, Peer::Floor),
        ] {
            if took_part(&row, above) && took_part(&row, below) {
                let ratio = row.ratio(((above, 1), (below, 1)), us);
                let _ = write!(out, "; {} / {} {ratio}", above.name(), below.name());
            }
        }
        out.push('\n');
    }
    out
}

/// A line about rounds in which the proxy had to wait for its core, if there were any.
pub fn disturbed(rows: &[Row<'_>]) -> Option<String> {
    let single = rows
        .iter()
        .flat_map(|r| r.taken.iter())
        .filter(|(c, _)| c.threads == 1);
    let worst = single
        .flat_map(|(_, samples)| samples.iter().map(|s| s.waited))
        .fold(0.0, f64::max);
    (worst > 0.05).then(|| {
        let percent = worst * 100.0;
        format!("the machine was not quiet: a proxy waited for its core {percent:.0} % of a round")
    })
}

/// Puts a table between the two marker comments of its section.
pub fn replace(page: &str, section: Section, table: &str) -> Result<String, String> {
    let name = section.name();
    let (begin, end) = (
        format!("<!-- bench {name} -->"),
        format!("<!-- end of bench {name} -->"),
    );
    let missing = |marker: &str| format!("docs/performance.md has no line '{marker}': add it");
    let (before, rest) = page.split_once(&begin).ok_or_else(|| missing(&begin))?;
    let (_, after) = rest.split_once(&end).ok_or_else(|| missing(&end))?;
    Ok(format!("{before}{begin}\n\n{table}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::loads::LOADS;

    fn sample(cpu: f64) -> Sample {
        Sample {
            cpu,
            rss: cpu,
            ..Sample::default()
        }
    }

    fn row(ours: &[f64], theirs: &[f64]) -> Row<'static> {
        let taken = [(Peer::Mulgil, ours), (Peer::Haproxy, theirs)].map(|(peer, cpu)| {
            let samples = cpu.iter().map(|c| sample(*c)).collect();
            (Contestant { peer, threads: 1 }, samples)
        });
        Row {
            load: &LOADS[0],
            taken: taken.into(),
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn a_ratio_is_of_medians_and_shows_its_rounds() {
        let row = row(&[8000.0, 9000.0, 10000.0], &[10000.0, 10000.0, 10000.0]);
        assert_eq!(row.ratio(OURS, |s| s.cpu), "**0.90** (0.80–1.00)");
    }

    #[test]
    fn who_did_not_take_part_is_a_dash() {
        let rows = [row(&[], &[12000.0])];
        for section in Section::ALL {
            let text = table(section, &rows);
            assert!(!text.contains("NaN"), "{text}");
            let columns: Vec<usize> = text.lines().map(|l| l.matches('|').count()).collect();
            assert!(columns.windows(2).all(|w| w[0] == w[1]), "{text}");
        }
        assert!(table(Section::Http, &rows).contains("| – | 12.0 | – |"));
    }

    #[test]
    fn the_floor_is_told_where_it_took_part() {
        let mut row = row(&[9000.0], &[10000.0]);
        assert_eq!(floors(&[]), "");
        let floor = Contestant {
            peer: Peer::Floor,
            threads: 1,
        };
        row.taken.push((floor, vec![sample(6000.0)]));
        let told = floors(&[row]);
        assert!(
            told.contains("takes 6.00 µs; floor / haproxy **0.60**"),
            "{told}"
        );
        assert!(told.contains("; mulgil / floor **1.50**") && !told.contains("nginx"));
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = "# By hand\n<!-- bench tcp -->\nold\n<!-- end of bench tcp -->\nkept\n";
        let new = replace(page, Section::Tcp, "| new |\n").expect("replaced");
        assert!(new.starts_with("# By hand\n<!-- bench tcp -->\n\n| new |\n"));
        assert!(new.ends_with("<!-- end of bench tcp -->\nkept\n") && !new.contains("old"));
        assert_eq!(replace(&new, Section::Tcp, "| new |\n").as_ref(), Ok(&new));
        assert!(replace(page, Section::Http, "").is_err());
    }

    #[test]
    fn a_busy_machine_is_told() {
        let mut rows = [row(&[1.0], &[1.0])];
        assert_eq!(disturbed(&rows), None);
        rows[0].taken[0].1[0].waited = 0.2;
        assert!(disturbed(&rows).is_some_and(|t| t.contains("20 %")));
    }
}
