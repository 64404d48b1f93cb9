//! Values that cannot be meant, of schedulers, checks, persistence and tables: each has an error of its
//! own, which names the place and the value, and says what to do.

use lab::{Folder, Program};

const CASES: &str = include_str!("bad_values.txt");

const BEFORE: &str = "defaults\n mode http\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n\
     listen l\n bind 127.0.0.1:1\n";

#[test]
fn each_bad_value_has_an_error_that_names_its_place_and_what_to_do() {
    let folder = Folder::new();
    let mut wrong = Vec::new();
    for case in CASES.lines().filter(|l| !l.starts_with('#')) {
        let (lines, part) = case.split_once(" => ").expect("lines and what is said");
        let lines: Vec<&str> = lines.split(" && ").collect();
        let marked = lines.iter().position(|l| l.starts_with('*'));
        let at = BEFORE.lines().count() + 1 + marked.unwrap_or(lines.len() - 1);
        let text: String = lines
            .iter()
            .map(|l| {
                format!(
                    " {}\n",
                    l.trim_start_matches('*').replace(" :", " 127.0.0.1:")
                )
            })
            .collect();
        let file = folder.file("bad.cfg", format!("{BEFORE}{text}").as_bytes());
        let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
        let place = format!("{file}:{at}:");
        let part = part.replace("FILE", &file);
        let is_it = |l: &str| l.starts_with(&place) && l.contains("error: ") && l.contains(&part);
        if status == 0 || !said.lines().any(is_it) {
            wrong.push(format!("{case}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
