//! What docs/manual.md shows of a configuration is one: each piece is taken as it stands there.

use lab::{Folder, Program};

/// The pieces between fences, each with the number of its first line. A fence with a word is around something else:
/// commands, a file of systemd's, a drawing.
fn pieces(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(&str, usize, String)> = None;
    for (at, line) in text.lines().enumerate() {
        match (open.take(), line.strip_prefix("```")) {
            (None, Some(word)) => open = Some((word, at + 2, String::new())),
            (Some(("", first, piece)), Some(_)) => found.push((first, piece)),
            (Some((word, first, piece)), None) => open = Some((word, first, piece + line + "\n")),
            _ => {}
        }
    }
    found
}

/// What the pieces name and no test can have from the machine: certificates, keys, lists.
fn files(folder: &Folder) {
    let (key, cert) = lab::certificate(folder, "manual");
    let both = [&cert, &key].map(|p| std::fs::read_to_string(p).expect("a file"));
    let pem = both.concat();
    for name in ["mx.pem", "ca.pem", "files.pem", "site.pem", "clients.pem"] {
        folder.file(name, pem.as_bytes());
    }
    std::fs::create_dir_all(folder.path("certs")).expect("a folder");
    folder.file("certs/one.pem", pem.as_bytes());
    for (name, bytes) in [("peer.key", 32), ("cookies.key", 16)] {
        let path = folder.file(name, "0f".repeat(bytes).as_bytes());
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, mode).expect("a mode");
    }
    for name in ["blocked.lst", "partners.lst"] {
        folder.file(name, b"192.0.2.0/24\n");
    }
}

/// The words of a piece's lines.
fn lines(piece: &str) -> impl Iterator<Item = Vec<&str>> {
    piece.lines().map(|l| l.split_whitespace().collect())
}

/// Sections that a piece leads to, or follows, and leaves to its reader.
fn rest(piece: &str) -> String {
    let mode = lines(piece)
        .find_map(|l| match l.as_slice() {
            ["mode", mode] => Some(mode.to_string()),
            _ => None,
        })
        .unwrap_or("http".into());
    let there = |kind: &str, name: &str| {
        lines(piece)
            .any(|l| matches!(l.as_slice(), [k, n] if *n == name && (*k == kind || *k == "listen")))
    };
    let mut made = String::new();
    for line in lines(piece) {
        let (kind, name) = match line.as_slice() {
            ["use_backend" | "default_backend", name, ..] => ("backend", *name),
            ["track", "frontend", name] => ("frontend", *name),
            _ => continue,
        };
        let section = format!("{kind} {name}\n");
        if there(kind, name) || made.contains(&section) {
            continue;
        }
        // What switches to HTTP leads there by another way than by the rest.
        let switched = piece.contains("switch-mode") && name == "web";
        let mode = if switched { "http" } else { mode.as_str() };
        let forward = (mode == "packet").then_some("    forward nat\n");
        made += &format!("{section}    mode {mode}\n{}", forward.unwrap_or_default());
        made += if kind == "frontend" {
            "    bind :80\n"
        } else {
            ""
        };
    }
    made
}

#[test]
fn every_configuration_in_the_manual_is_good() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/manual.md");
    let manual = std::fs::read_to_string(path).expect("the manual");
    let folder = Folder::new();
    files(&folder);
    let mut tried = 0;
    for (at, piece) in pieces(&manual) {
        let within = piece.starts_with(".if");
        let begin = if within {
            "listen around\n    bind :80\n"
        } else {
            ""
        };
        tried += 1;
        let text = format!(
            "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 5s\n{begin}{piece}{}listen besides\n    bind :8099\n",
            rest(&piece)
        );
        // Nobody is asked for names here, and `…` stands for what stood above.
        let text = text
            .replace("/etc/mulgil/", &folder.path(""))
            .replace("last,libc,none", "last,none")
            .replace("    …\n", "    interface eth0\n    virtual-router-id 51\n")
            .replace(" site.pem", &format!(" {}", folder.path("site.pem")))
            .replace(" clients.pem", &format!(" {}", folder.path("clients.pem")));
        let file = folder.file("piece.cfg", text.as_bytes());
        let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
        assert_eq!(status, 0, "docs/manual.md:{at}: {said}\n{text}");
    }
    assert!(tried >= 18, "only {tried} pieces");
}
