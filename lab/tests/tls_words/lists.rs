//! Lines of a `crt-list`, and the words of `bind` that they may have for themselves.

use crate::{TIMES, answer, at, client, made, shown};
use lab::{Folder, Program, Proxy, each, port};

#[test]
fn each_line_of_a_list_speaks_as_it_says() {
    let folder = Folder::new();
    let lines = at("@one.pem\n\
        @one.pem [alpn http/1.1] alpn.example\n\
        @one.pem [ssl-min-ver TLSv1.3] new.example\n\
        @one.pem [ssl-max-ver TLSv1.2 ciphers ECDHE-ECDSA-AES256-GCM-SHA384] old.example\n\
        @one.pem [ciphersuites TLS_CHACHA20_POLY1305_SHA256] chacha.example\n\
        @one.pem [curves P-384] curve.example\n\
        @two.pem [verify required ca-file @root.c] who.example *.who.example !not.who.example\n");
    each(|program| {
        // A word of 2.8.
        let more = match program.name {
            "mulgil" => at("@one.pem [no-alpn] plain.example\n"),
            _ => String::new(),
        };
        let list = folder.file("list", format!("{lines}{more}").as_bytes());
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl crt-list {list} alpn http/1.0\n    http-request return status 200 content-type text/plain lf-string \"%[ssl_fc_protocol] %[ssl_fc_cipher] <%[ssl_fc_alpn]> %[ssl_c_used]\"\n"
            ),
        );
        let both = "-alpn http/1.1,http/1.0";
        for (name, words, wanted) in [
            (
                "other.example",
                "",
                "TLSv1.3 TLS_AES_256_GCM_SHA384 <http/1.0> 0",
            ),
            (
                "alpn.example",
                "",
                "TLSv1.3 TLS_AES_256_GCM_SHA384 <http/1.1> 0",
            ),
            ("new.example", "-tls1_2", ""),
            (
                "old.example",
                "",
                "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384 <http/1.0> 0",
            ),
            ("old.example", "-tls1_3", ""),
            (
                "chacha.example",
                "",
                "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256 <http/1.0> 0",
            ),
            (
                "curve.example",
                "-groups P-384",
                "TLSv1.3 TLS_AES_256_GCM_SHA384 <http/1.0> 0",
            ),
            ("who.example", "", ""),
            ("a.who.example", "-tls1_2", ""),
            (
                "not.who.example",
                "",
                "TLSv1.3 TLS_AES_256_GCM_SHA384 <http/1.0> 0",
            ),
            (
                "a.who.example",
                "-cert @client.pem",
                "TLSv1.3 TLS_AES_256_GCM_SHA384 <http/1.0> 1",
            ),
        ] {
            let words = format!("-servername {name} {both} {words}");
            assert_eq!(answer(port, &words), wanted, "{}: {words}", program.name);
        }
        if program.name == "mulgil" {
            // 2.6 takes any group that its default certificate takes.
            let words = format!("-servername curve.example {both} -groups X25519");
            assert_eq!(answer(port, &words), "");
            let words = format!("-servername plain.example {both}");
            let wanted = "TLSv1.3 TLS_AES_256_GCM_SHA384 <> 0";
            assert_eq!(answer(port, &words), wanted);
        }
    });
}

#[test]
fn what_a_line_of_a_list_cannot_have_is_said_with_its_place() {
    let folder = Folder::new();
    for (line, status, wanted) in [
        (
            "[alpn h2,http/1.1]",
            0,
            ":3: protocol 'h2' is one of HAProxy's that mulgil does not have yet: clients get the others offered",
        ),
        (
            "[alpn h2]",
            1,
            "protocol 'h2' is one of HAProxy's that mulgil does not have yet: offer http/1.1",
        ),
        ("[npn http/1.1]", 1, "unknown ssl keyword npn"),
        ("[ssl-min-ver TLSv9]", 1, "unknown version 'TLSv9'"),
        (
            "[verify perhaps]",
            1,
            "'perhaps' is no kind of verification",
        ),
        ("[verify required", 1, "the bracket is not closed"),
        ("[ocsp-update off]", 0, "valid"),
        (
            "[ocsp-update on]",
            1,
            "answers of OCSP are not fetched: put them beside",
        ),
        (
            "[strict-sni]",
            1,
            "what is not for one certificate stands on the 'bind' line",
        ),
        ("[verify required]", 1, "only with 'ca-file FILE'"),
        (
            "[ciphers NOSUCH-CIPHER]",
            0,
            "'NOSUCH-CIPHER' is not among the ciphers",
        ),
    ] {
        let list = format!("# a comment\n\n@one.pem {line} a.example\n@one.pem {line} b.example\n");
        let list = folder.file("list", at(&list).as_bytes());
        let text = format!("{TIMES}frontend f\n    bind 127.0.0.1:9443 ssl crt-list {list}\n");
        let file = folder.file("list.cfg", text.as_bytes());
        let (ended, said) = Program::mulgil().run(&["-c", "-f", &file]);
        assert_eq!(ended, status, "{line}: {said}");
        assert_eq!(said.matches(wanted).count(), 1, "{line}: {said}");
    }
}

#[test]
fn authorities_are_named_to_clients_or_not() {
    each(|program| {
        let cases = [
            ("ca-file @root.c", vec!["root.example"]),
            ("ca-file @root.c no-ca-names", vec![]),
            ("ca-verify-file @root.c", vec![]),
            ("ca-file @one.c ca-verify-file @root.c", vec!["one.example"]),
        ];
        for (words, named) in cases {
            let port = port();
            let words = at(words);
            let _proxy = Proxy::start(
                program,
                &format!(
                    "{TIMES}frontend f\n    bind 127.0.0.1:{port} ssl crt {} verify required {words}\n    http-request return status 200 content-type text/plain lf-string %[ssl_c_s_dn(CN)]\n",
                    at("@one.pem")
                ),
            );
            // Whoever vouches, the client is believed.
            let client_words = "-cert @client.pem";
            let told = answer(port, client_words);
            assert_eq!(told, "client", "{}: {words}", program.name);
            let output = client(port, "-tls1_2 -cert @client.pem", "");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let names = text.split_once("Acceptable client certificate CA names\n");
            let names: Vec<&str> = names.map_or(Vec::new(), |(_, rest)| {
                let lines = rest.lines().take_while(|l| l.contains("CN"));
                lines.filter_map(|l| l.rsplit(['=', ' ']).next()).collect()
            });
            assert_eq!(names, named, "{}: {words}", program.name);
        }
    });
}

#[test]
fn a_client_may_show_nothing_or_what_is_known_to_be_wrong_where_told() {
    let root = made().path("root.c");
    each(|program| {
        let (optional, numbered, authorities) = (port(), port(), port());
        let bind = |port: u16, words: &str| {
            format!(
                "    bind 127.0.0.1:{port} ssl crt {} ca-file {root} {words}\n",
                at("@one.pem")
            )
        };
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n{}{}{}    http-request return status 200 content-type text/plain lf-string \"%[ssl_c_used] %[ssl_c_verify] %[ssl_c_err]\"\n",
                bind(optional, "verify optional"),
                bind(numbered, "verify optional crt-ignore-err 18"),
                bind(
                    authorities,
                    "verify required ca-ignore-err 20,21 crt-ignore-err 20,21"
                ),
            ),
        );
        for version in ["-tls1_2", "-tls1_3"] {
            for (port, words, wanted) in [
                (optional, "", "0 0 0"),
                (optional, "-cert @client.pem", "1 0 0"),
                (optional, "-cert @two.pem", ""),
                (numbered, "", "0 0 0"),
                (numbered, "-cert @two.pem", "1 18 18"),
                // Nobody knows who signed it: that is another number.
                (numbered, "-cert @leaf.pem", ""),
                (authorities, "", ""),
            ] {
                let words = format!("{version} {words}");
                assert_eq!(answer(port, &words), wanted, "{}: {words}", program.name);
            }
            let leaf = answer(authorities, &format!("{version} -cert @leaf.pem"));
            assert!(leaf.starts_with("1 2"), "{}: {leaf}", program.name);
        }
    });
}

#[test]
fn names_that_nothing_is_for_are_refused_or_get_the_default() {
    each(|program| {
        let (lenient, strict) = (port(), port());
        let bind = |port: u16, words: &str| {
            let words = at(&format!("crt @one.pem crt @two.pem {words}"));
            format!("    bind 127.0.0.1:{port} ssl {words}\n")
        };
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n{}{}",
                bind(lenient, ""),
                bind(strict, "strict-sni")
            ),
        );
        for (words, default, wanted) in [
            ("-servername two.example", "two.example", "two.example"),
            ("-servername TWO.EXAMPLE", "two.example", "two.example"),
            ("-servername a.two.example", "two.example", "two.example"),
            ("-servername other.example", "one.example", ""),
            ("-noservername", "one.example", ""),
        ] {
            assert_eq!(shown(lenient, words), default, "{}: {words}", program.name);
            assert_eq!(shown(strict, words), wanted, "{}: {words}", program.name);
        }
    });
}

/// A word of 3.0.
#[test]
fn default_certificates_are_for_names_that_nothing_is_for() {
    let folder = Folder::new();
    crate::join(&folder, "two.pem", &[&at("@two.pem")]);
    let list = folder.file("list", at("@two.pem two.example\n").as_bytes());
    let (named, listed) = (port(), port());
    // Relative names lie where the bases say.
    let text = format!(
        "    crt-base {0}\n    ca-base {1}\n{TIMES}frontend f\n    bind 127.0.0.1:{named} ssl crt two.pem default-crt {2} default-crt {3} verify optional ca-file root.c\n    bind 127.0.0.1:{listed} ssl crt-list {list} default-crt {2}\n",
        folder.path("").trim_end_matches('/'),
        made().path("").trim_end_matches('/'),
        at("@one.pem"),
        at("@rsa.pem"),
    );
    let _proxy = Proxy::start(&Program::mulgil(), &text);
    for (port, words, wanted) in [
        (named, "-servername two.example", "two.example"),
        (named, "-servername other.example", "one.example"),
        (named, "-noservername", "one.example"),
        // Several defaults: the client's abilities decide.
        (
            named,
            "-noservername -tls1_3 -sigalgs RSA-PSS+SHA256",
            "rsa.example",
        ),
        (listed, "-servername two.example", "two.example"),
        (listed, "-servername other.example", "one.example"),
    ] {
        assert_eq!(shown(port, words), wanted, "{words}");
    }
}
