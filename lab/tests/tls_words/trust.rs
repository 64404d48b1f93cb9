//! Whom a client's certificate is believed by: the line of its name, roots, lists of the revoked.

use crate::{TIMES, answer, at, join, made, parts};
use lab::{Folder, Program, Proxy, each, openssl, port};

/// Writes the list of what `authority` revoked, which is nothing; `dates` may say when it is over.
fn revoked_by(folder: &Folder, authority: &str, name: &str, dates: &[&str]) -> String {
    let index = folder.file(&format!("{name}.index"), b"");
    let number = folder.file(&format!("{name}.number"), b"01\n");
    let settings = format!(
        "[ca]\ndefault_ca=d\n[d]\ndatabase={index}\ncrlnumber={number}\ndefault_md=sha256\ndefault_crl_days=30\n"
    );
    let settings = folder.file(&format!("{name}.settings"), settings.as_bytes());
    let (key, certificate) = parts(made(), authority);
    let path = folder.path(name);
    let mut args = vec!["ca", "-gencrl", "-config", &settings, "-out", &path];
    args.extend(["-keyfile", &key, "-cert", &certificate]);
    args.extend(dates);
    openssl(&args);
    path
}

/// Lists of the revoked, on which nobody stands, by who signed them; the one of `root` also as it was
/// until some time ago, and with that of `inter` in one file, as their certificates are.
struct Lists {
    of_root: String,
    of_one: String,
    over: String,
    both: String,
    pair: String,
}

impl Lists {
    fn new(folder: &Folder) -> Lists {
        let of_root = revoked_by(folder, "root", "root.crl", &[]);
        let of_inter = revoked_by(folder, "inter", "inter.crl", &[]);
        let past = [
            "-crl_lastupdate",
            "20200101000000Z",
            "-crl_nextupdate",
            "20200201000000Z",
        ];
        Lists {
            of_one: revoked_by(folder, "one", "one.crl", &[]),
            over: revoked_by(folder, "root", "over.crl", &past),
            both: join(folder, "both.crl", &[&of_root, &of_inter]),
            pair: join(folder, "pair.c", &[&at("@root.c"), &at("@inter.c")]),
            of_root,
        }
    }
}

#[test]
fn a_line_for_a_name_goes_before_a_wildcard_of_another() {
    let folder = Folder::new();
    let strict = "@one.pem [verify required ca-file @root.c] api.example.com\n";
    let lenient = "@two.pem [verify none] *.example.com\n";
    for (name, lines) in [
        ("strict first", [strict, lenient].concat()),
        ("strict last", [lenient, strict].concat()),
    ] {
        let list = folder.file(
            name.split(' ').next_back().unwrap_or(name),
            at(&lines).as_bytes(),
        );
        each(|program| {
            let port = port();
            let _proxy = Proxy::start(
                program,
                &format!(
                    "{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl crt-list {list}\n    http-request return status 200 content-type text/plain string in\n"
                ),
            );
            for (words, wanted) in [
                ("-servername api.example.com", ""),
                ("-servername api.example.com -cert @client.pem", "in"),
                ("-servername www.example.com", "in"),
            ] {
                assert_eq!(
                    answer(port, words),
                    wanted,
                    "{}: {name}: {words}",
                    program.name
                );
            }
        });
    }
}

#[test]
fn a_chain_ends_in_a_root_and_lists_say_of_each_certificate_that_it_holds() {
    let folder = Folder::new();
    let Lists {
        of_root,
        of_one,
        over,
        both,
        pair,
    } = Lists::new(&folder);
    // What the line says, and who may come in: `client` of the root, `leaf` of the intermediate, with
    // it and alone, and `one`, which vouches for itself.
    let lines = [
        (
            format!("ca-file @root.c verify required crl-file {of_one}"),
            [false; 4],
        ),
        (
            format!("ca-file @root.c verify required crl-file {over}"),
            [false; 4],
        ),
        (
            format!("ca-file @root.c verify required crl-file {over} crt-ignore-err 12"),
            [false; 4],
        ),
        (
            format!(
                "ca-file @root.c verify required crl-file {over} crt-ignore-err 12 ca-ignore-err 12"
            ),
            [true, false, false, false],
        ),
        (
            format!("ca-file @root.c verify required crl-file {of_root}"),
            [true, false, false, false],
        ),
        (
            format!("ca-file @root.c verify required crl-file {both}"),
            [true, true, false, false],
        ),
        (
            format!("ca-file {pair} verify required crl-file {both}"),
            [true, true, true, false],
        ),
        (
            format!("ca-file {pair} verify required"),
            [true, true, true, false],
        ),
        (
            "ca-file @inter.c ca-verify-file @root.c verify required".into(),
            [true, true, true, false],
        ),
        ("ca-file @inter.c verify required".into(), [false; 4]),
        ("ca-file @leaf.c verify required".into(), [false; 4]),
        (
            "ca-file @inter.c verify optional crt-ignore-err all ca-ignore-err all".into(),
            [true; 4],
        ),
        (
            "ca-file @one.c verify required".into(),
            [false, false, false, true],
        ),
        (
            format!("ca-file @one.c verify required crl-file {of_root}"),
            [false; 4],
        ),
    ];
    let clients = [
        "-cert @client.pem",
        "-cert @leaf.pem -cert_chain @inter.c",
        "-cert @leaf.pem",
        "-cert @one.pem",
    ];
    each(|program| {
        let doors: Vec<_> = lines
            .iter()
            .map(|(words, may)| (port(), at(words), may))
            .collect();
        let binds = doors.iter().map(|(port, words, _)| {
            format!(
                "    bind 127.0.0.1:{port} ssl crt {} {words}\n",
                at("@two.pem")
            )
        });
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n{}    http-request return status 200 content-type text/plain string in\n",
                binds.collect::<String>()
            ),
        );
        for (port, words, may) in &doors {
            for (client, may) in clients.iter().zip(*may) {
                let wanted = if *may { "in" } else { "" };
                assert_eq!(
                    answer(*port, client),
                    wanted,
                    "{}: {words}: {client}",
                    program.name
                );
            }
        }
    });
}

#[test]
fn a_server_is_believed_by_roots_and_lists_that_hold() {
    let folder = Folder::new();
    let Lists {
        of_root,
        of_one,
        over,
        both,
        pair,
    } = Lists::new(&folder);
    let whole = join(
        &folder,
        "whole.pem",
        &[&at("@leaf.c"), &at("@inter.c"), &at("@leaf.k")],
    );
    let alone = at("@leaf.pem");
    each(|program| {
        let mut text = String::new();
        let cases = [
            (&whole, "ca-file @root.c".to_string(), 200),
            (&alone, "ca-file @root.c".into(), 503),
            (&alone, format!("ca-file {pair}"), 200),
            (&whole, "ca-file @inter.c".into(), 503),
            (&alone, "ca-file @leaf.c".into(), 503),
            (&whole, format!("ca-file @root.c crl-file {of_one}"), 503),
            (&whole, format!("ca-file @root.c crl-file {over}"), 503),
            (&whole, format!("ca-file @root.c crl-file {of_root}"), 503),
            (&whole, format!("ca-file @root.c crl-file {both}"), 200),
        ];
        let cases: Vec<_> = cases.into_iter().map(|c| (port(), port(), c)).collect();
        for (front, back, (certificate, words, _)) in &cases {
            text += &format!(
                "listen f{front}\n    retries 0\n    bind 127.0.0.1:{front}\n    server s 127.0.0.1:{back} ssl {}\n\
                 frontend b{back}\n    bind 127.0.0.1:{back} ssl crt {certificate}\n    http-request return status 200\n",
                at(words)
            );
        }
        let _proxy = Proxy::start(program, &format!("{TIMES}{text}"));
        for (front, _, (certificate, words, wanted)) in &cases {
            let said = lab::Client::connect(*front).ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(
                said.status, *wanted,
                "{}: {words}: {certificate}",
                program.name
            );
        }
    });
}

/// HAProxy reloads by another process, which reads everything anew.
#[test]
fn checks_follow_files_that_change_after_a_reload() {
    let (front, tls) = (port(), port());
    let folder = Folder::new();
    let authorities = join(&folder, "authorities.pem", &[&at("@one.c")]);
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}listen f\n    bind 127.0.0.1:{front}\n    server s 127.0.0.1:{tls} check check-ssl inter 100ms fall 1 rise 1 ca-file {authorities}\n\
             frontend t\n    bind 127.0.0.1:{tls} ssl crt {}\n    http-request return status 200\n",
            at("@one.pem")
        ),
    );
    proxy.wait_for("f", "s", "check_status", "L6OK");
    proxy.signal("-HUP");
    proxy.wait_for_output("in force");
    let pem = std::fs::read_to_string(made().path("root.c")).expect("a file");
    proxy.control(&format!("set ssl ca-file {authorities} <<\n{pem}"));
    let said = proxy.control(&format!("commit ssl ca-file {authorities}"));
    assert!(said.contains("Success!"), "{said}");
    proxy.wait_for("f", "s", "status", "DOWN");
}
