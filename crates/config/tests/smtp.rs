//! `mode smtp`: what it means, and what is said where it cannot be.

mod common;

use common::{load_text, said};
use model::{LogFormatSpec, Mode};

const BACK: &str =
    "backend b\n mode smtp\n timeout connect 1s\n timeout server 1s\n server s 10.0.0.1:25\n";

fn front(lines: &str) -> String {
    format!(
        "frontend f\n mode smtp\n timeout client 1s\n bind 192.0.2.1:25\n default_backend b\n{lines}{BACK}"
    )
}

#[test]
fn a_file_for_mail_means_what_it_says() {
    let text = format!(
        "frontend f\n mode smtp\n timeout client 1s\n bind 192.0.2.1:25 starttls crt site.pem\n \
         bind 192.0.2.1:465 ssl crt site.pem\n smtp-name mx.example\n smtp-size 50m\n smtp-max-rcpts 100\n \
         smtp-max-errors 5\n smtp-bare-newline normalize\n smtp-require-tls\n smtp-extensions dsn SIZE\n \
         smtp-banner 'ESMTP here'\n \
         smtp-request deny status 450 if {{ smtp.rcpt_domain a.example }}\n option httplog\n \
         log 127.0.0.1 local0\n default_backend b\n{BACK} server t 10.0.0.2:25 xclient starttls verify none\n"
    );
    let loaded = load_text(&text);
    let warning = "15: warning: 'f' is in 'mode smtp', so its log lines are those of 'option smtplog': say that instead";
    assert_eq!(said(&loaded), [warning]);
    let config = loaded.config.expect("valid");
    let proxy = config.frontend("f").expect("there");
    assert_eq!(proxy.mode, Mode::Smtp);
    let side = proxy.frontend.as_ref().expect("a side");
    assert!(matches!(side.log_format, LogFormatSpec::Smtp));
    let offered: Vec<_> = side.binds.iter().map(|b| b.options.starttls).collect();
    assert_eq!(offered, [true, false]);
    let smtp = &side.smtp;
    assert_eq!(smtp.name.as_deref(), Some("mx.example"));
    assert_eq!(smtp.size, Some(50 << 20));
    assert_eq!((smtp.max_rcpts, smtp.max_errors), (100, 5));
    assert!(smtp.normalize && smtp.require_tls);
    assert_eq!(smtp.extensions, ["DSN".into(), "SIZE".into()]);
    assert_eq!(side.smtp_request.len(), 1);
    let backend = config.backend("b").expect("there");
    let servers = &backend.backend.as_ref().expect("a side").servers;
    let offered = servers
        .iter()
        .map(|s| s.tls.as_ref().is_some_and(|t| t.offered));
    assert_eq!(offered.collect::<Vec<_>>(), [false, true]);
    assert_eq!((servers[0].xclient, servers[1].xclient), (false, true));
}

#[test]
fn what_does_not_fit_mail_is_refused_with_a_way_out() {
    let in_mail = |lines: &str| front(lines);
    let elsewhere = |lines: &str| {
        format!(
            "listen l\n mode tcp\n bind 192.0.2.1:25\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n{lines}"
        )
    };
    let wrong = [
        (
            in_mail(" tcp-request content reject\n"),
            "6: error: 'tcp-request content' looks at bytes",
        ),
        (
            in_mail(" tcp-request inspect-delay 5s\n"),
            "6: error: 'tcp-request inspect-delay' looks at bytes",
        ),
        (
            in_mail(" option logasap\n"),
            "'option logasap' has nothing to write early",
        ),
        (in_mail(" smtp-request set-header A b\n"), "'set-header'"),
        (
            in_mail(" smtp-request deny status 250\n"),
            "'250' refuses nothing: use a code from 400",
        ),
        (in_mail(" smtp-request deny string\n"), "a string"),
        (
            in_mail(" smtp-request deny content-type a\n"),
            "unknown word 'content-type'",
        ),
        (in_mail(" smtp-name 'two words'\n"), "no name of a machine"),
        (in_mail(" smtp-banner \"x\\ty\"\n"), "one line"),
        (
            in_mail(" smtp-extensions CHUNKING\n"),
            "unknown extension 'CHUNKING'",
        ),
        (
            in_mail(" smtp-extensions 8BITMINE\n"),
            "did you mean '8BITMIME'?",
        ),
        (in_mail(" smtp-max-rcpts 5\n"), "100"),
        (
            in_mail(" smtp-bare-newline normalise\n"),
            "did you mean 'normalize'?",
        ),
        (
            in_mail(" smtp-require-tls\n"),
            "6: error: 'smtp-require-tls' refuses all mail that comes in by the 'bind' at",
        ),
        (
            in_mail(" bind 192.0.2.1:26 starttls\n"),
            "'starttls' needs a certificate: add 'crt FILE'",
        ),
        (
            in_mail(" bind 192.0.2.1:26 ssl starttls crt site.pem\n"),
            "use two ports",
        ),
        (
            elsewhere(" smtp-request accept\n"),
            "7: error: 'smtp-request' is for conversations of SMTP, but 'l' is in 'mode tcp'",
        ),
        (elsewhere(" smtp-size 1m\n"), "set 'mode smtp'"),
        (
            elsewhere(" option smtplog\n"),
            "'option smtplog' is for conversations of SMTP",
        ),
        (
            elsewhere(" bind 192.0.2.1:26 starttls crt site.pem\n"),
            "'bind … starttls'",
        ),
        (
            elsewhere(" server s 10.0.0.1:25 xclient\n"),
            "'server s … xclient'",
        ),
        (
            elsewhere(" server s 10.0.0.1:25 starttls verify none\n"),
            "'server s … starttls'",
        ),
        (
            format!("{} balance rdp-cookie\n", front("")),
            "'balance rdp-cookie' finds no cookie",
        ),
        (
            format!("{} persist rdp-cookie\n", front("")),
            "'persist rdp-cookie' finds no cookie",
        ),
        (
            front("").replace("default_backend b", "default_backend c") + "backend c\n mode tcp\n",
            "give both the same mode",
        ),
    ];
    for (text, wanted) in wrong {
        let loaded = load_text(&text);
        let said = said(&loaded);
        assert!(
            loaded.config.is_none() && said.iter().any(|s| s.contains(wanted)),
            "{wanted}: {said:?}\n{text}"
        );
    }
}

#[test]
fn a_frontend_may_take_what_only_mail_has_from_its_defaults() {
    let text = format!(
        "defaults mail\n mode smtp\n timeout client 1s\n smtp-name mx.example\n smtp-request accept\n\
         frontend f from mail\n bind 192.0.2.1:25\n default_backend b\n{BACK}"
    );
    let loaded = load_text(&text);
    assert_eq!(said(&loaded), Vec::<String>::new());
    let config = loaded.config.expect("valid");
    let side = config.frontend("f").and_then(|p| p.frontend.clone());
    assert_eq!(side.map(|s| s.smtp_request.len()), Some(1));
}
