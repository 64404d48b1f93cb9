//! The table of `global` keywords.

use crate::diag::Fault;
use crate::keyword::near;
use crate::line::{Bases, Line};
use crate::removed;
use crate::source::DefaultPath;
use crate::units;
use model::{Global, PacketAttach};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One keyword of `global`.
pub struct GlobalKeyword {
    /// Its word.
    pub name: &'static str,
    /// Its arguments.
    pub args: &'static str,
    /// Arguments that are valid.
    pub example: &'static str,
    /// One line.
    pub doc: &'static str,
    parse: fn(&mut Reading<'_>, &mut Line<'_>) -> Result<(), Fault>,
}

/// What a line of `global` may change.
pub struct Reading<'a> {
    pub global: &'a mut Global,
    pub bases: &'a mut Bases,
    pub env: &'a mut BTreeMap<String, String>,
}

macro_rules! keyword {
    ($name:literal, $args:literal, $example:literal, $doc:literal, $parse:expr) => {
        GlobalKeyword {
            name: $name,
            args: $args,
            example: $example,
            doc: $doc,
            parse: $parse,
        }
    };
}

fn num(l: &Line<'_>, least: u64, most: u64) -> Result<u64, Fault> {
    l.exactly(1, "a number")?;
    l.map(0, units::number(l.arg(0), least, most))
}

fn text(l: &Line<'_>, what: &str) -> Result<String, Fault> {
    l.exactly(1, what)?;
    Ok(l.arg(0).to_string())
}

fn switch(l: &Line<'_>) -> Result<bool, Fault> {
    match text(l, "on or off")?.as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        other => l.fail(0, format!("'{other}' is neither on nor off")),
    }
}

/// All keywords of `global`.
pub static GLOBAL_KEYWORDS: &[GlobalKeyword] = &[
    keyword!(
        "ca-base",
        "DIR",
        "/etc/ssl/certs",
        "where ca-file looks",
        |r, l| {
            let folder = text(l, "a directory")?;
            let store = &r.bases.tls.store;
            store.set_folders(|f| f.authorities = Some(folder.clone()));
            r.bases.ca_base = Some(folder);
            Ok(())
        }
    ),
    keyword!(
        "default-path",
        "current|config|parent|origin DIR",
        "origin /etc/mulgil",
        "where files with relative names are",
        |r, l| {
            r.bases.default_path = match l.arg(0) {
                "current" => DefaultPath::Current,
                "config" => DefaultPath::Config,
                "parent" => DefaultPath::Parent,
                "origin" => {
                    l.exactly(2, "a directory after 'origin'")?;
                    DefaultPath::Origin(l.arg(1).into())
                }
                other => {
                    let known = ["current", "config", "parent", "origin"];
                    return l.fail(0, crate::keyword::near("policy", other, &known));
                }
            };
            if l.arg(0) != "origin" {
                l.exactly(1, "one policy")?;
            }
            Ok(())
        }
    ),
    keyword!(
        "chroot",
        "DIR",
        "/var/empty",
        "the root of the file system while serving",
        |r, l| {
            r.global.chroot = Some(text(l, "a directory")?.into());
            Ok(())
        }
    ),
    keyword!(
        "cpu-map",
        "THREADS CPUS",
        "1-4 0-3",
        "which CPUs workers run on",
        cpu_map
    ),
    keyword!(
        "crt-base",
        "DIR",
        "/etc/ssl/private",
        "where crt looks",
        |r, l| {
            let folder = text(l, "a directory")?;
            let store = &r.bases.tls.store;
            store.set_folders(|f| f.certificates = Some(folder.clone()));
            r.bases.crt_base = Some(folder);
            Ok(())
        }
    ),
    keyword!("daemon", "", "", "go to the background", |r, l| {
        l.exactly(0, "nothing")?;
        r.global.daemon = true;
        Ok(())
    }),
    keyword!(
        "description",
        "TEXT",
        "a machine of ours",
        "shown in the statistics",
        |r, l| {
            if l.args().is_empty() {
                return l.fail(0, "'description' wants a text");
            }
            r.global.description = Some(l.texts(0).join(" ").into());
            Ok(())
        }
    ),
    keyword!(
        "fd-hard-limit",
        "N",
        "10000",
        "descriptors at most",
        |r, l| {
            r.global.fd_hard_limit = Some(num(l, 1, 1 << 30)?);
            Ok(())
        }
    ),
    keyword!(
        "gid",
        "N",
        "0",
        "the group's number while serving",
        |r, l| {
            r.global.gid = Some(num(l, 0, u32::MAX.into())? as u32);
            Ok(())
        }
    ),
    keyword!(
        "group",
        "NAME",
        "nogroup",
        "the group while serving",
        |r, l| {
            let name = text(l, "a group")?;
            r.global.gid = Some(
                l.map(
                    0,
                    l.source
                        .group(&name)
                        .ok_or_else(|| format!("there is no group '{name}' on this machine")),
                )?,
            );
            r.global.group = Some(name.into());
            Ok(())
        }
    ),
    keyword!(
        "maxconnrate",
        "N",
        "1000",
        "connections a second at most",
        |r, l| {
            r.global.maxconnrate = Some(num(l, 0, u32::MAX.into())? as u32);
            Ok(())
        }
    ),
    keyword!(
        "maxsslconn",
        "N",
        "1000",
        "connections of TLS at most",
        |r, l| {
            r.global.maxsslconn = Some(num(l, 0, 1 << 30)? as u32).filter(|n| *n > 0);
            Ok(())
        }
    ),
    keyword!(
        "maxsslrate",
        "N",
        "1000",
        "sessions of TLS a second at most",
        |r, l| {
            r.global.maxsslrate = Some(num(l, 0, u32::MAX.into())? as u32);
            Ok(())
        }
    ),
    keyword!(
        "maxsessrate",
        "N",
        "1000",
        "sessions a second at most",
        |r, l| {
            r.global.maxsessrate = Some(num(l, 0, u32::MAX.into())? as u32);
            Ok(())
        }
    ),
    keyword!(
        "server-state-base",
        "DIR",
        "/var/lib/states",
        "where files of server states are",
        |r, l| {
            r.global.server_state_base = Some(text(l, "a directory")?.into());
            Ok(())
        }
    ),
    keyword!(
        "server-state-file",
        "FILE",
        "states",
        "server states of all backends",
        |r, l| {
            r.global.server_state_file = Some(text(l, "a file")?.into());
            Ok(())
        }
    ),
    keyword!(
        "set-var",
        "proc.NAME EXPR",
        "proc.site str(seoul)",
        "a variable of the process",
        |r, l| set_var(r, l, "set-var")
    ),
    keyword!(
        "set-var-fmt",
        "proc.NAME FORMAT",
        "proc.site seoul-%[nbthread]",
        "a variable of the process, as text",
        |r, l| set_var(r, l, "set-var-fmt")
    ),
    keyword!(
        "h1-case-adjust",
        "NAME NAME",
        "content-length Content-Length",
        "how a header name is written to whom the options h1-case-adjust-bogus-… name",
        |r, l| {
            l.exactly(2, "a name, and the same as it is to be written")?;
            let pair = l.map(1, header_case(l.arg(0), l.arg(1)))?;
            l.map(0, add_case(&mut r.global.header_case, pair))
        }
    ),
    keyword!(
        "h1-case-adjust-file",
        "FILE",
        "case.txt",
        "the same from a file, two names a line",
        |r, l| {
            let path = text(l, "a file")?;
            let bytes = l.map(
                0,
                l.source
                    .read(&path)
                    .map_err(|e| format!("cannot read '{path}': {e}")),
            )?;
            for (at, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
                let mut words = line.split_ascii_whitespace();
                let Some(from) = words.next().filter(|w| !w.starts_with('#')) else {
                    continue;
                };
                let pair = header_case(from, words.next().unwrap_or_default());
                let added = pair.and_then(|pair| add_case(&mut r.global.header_case, pair));
                l.map(
                    0,
                    added.map_err(|e| format!("line {} of '{path}': {e}", at + 1)),
                )?;
            }
            Ok(())
        }
    ),
    keyword!(
        "h1-accept-payload-with-any-method",
        "",
        "",
        "let requests of HTTP/1.0 have a body whatever their method is",
        |r, l| {
            l.exactly(0, "nothing")?;
            r.global.h1_any_payload = true;
            Ok(())
        }
    ),
    keyword!(
        "grace",
        "TIME",
        "2s",
        "how long connections are still taken after a soft stop was asked for",
        |r, l| {
            l.exactly(1, "a time")?;
            r.global.grace = Some(l.map(0, units::time(l.arg(0), 1))?);
            Ok(())
        }
    ),
    keyword!(
        "harden.reject-privileged-ports.tcp",
        "on|off",
        "on",
        "refuse connections whose port is below 1024",
        |r, l| {
            r.global.reject_privileged = switch(l)?;
            Ok(())
        }
    ),
    keyword!(
        "maxcomprate",
        "KILOBYTES",
        "1000",
        "kilobytes that are compressed in a second at most; 0 is no limit",
        |r, l| {
            r.global.maxcomprate = num(l, 0, u32::MAX.into())? as u32;
            Ok(())
        }
    ),
    keyword!(
        "maxcompcpuusage",
        "PERCENT",
        "85",
        "nothing is compressed while workers are busier than this; 100 is no limit",
        |r, l| {
            r.global.maxcompcpuusage = Some(num(l, 0, 100)? as u32).filter(|n| *n < 100);
            Ok(())
        }
    ),
    keyword!(
        "hard-stop-after",
        "TIME",
        "30s",
        "how long a soft stop may take",
        |r, l| {
            l.surplus(1);
            r.global.hard_stop_after = l.map(0, units::timeout(l.arg(0)))?;
            Ok(())
        }
    ),
    keyword!(
        "external-check",
        "",
        "",
        "programs may check servers",
        |r, l| {
            l.exactly(0, "nothing")?;
            r.global.external_check = true;
            Ok(())
        }
    ),
    keyword!(
        "insecure-fork-wanted",
        "",
        "",
        "programs may be started, for external checks",
        |r, l| {
            l.exactly(0, "nothing")?;
            r.global.insecure_fork = true;
            Ok(())
        }
    ),
    keyword!(
        "anonkey",
        "KEY",
        "31337",
        "the number by which 'set anon on' hides names; 0 is another each time",
        |r, l| {
            r.global.anon_key = num(l, 0, u32::MAX.into())? as u32;
            Ok(())
        }
    ),
    keyword!(
        "dns-accept-family",
        "ipv4|ipv6|auto[,…]",
        "ipv4",
        "which addresses names have for resolvers; auto: IPv6 only with a way into that Internet",
        |r, l| {
            l.exactly(1, "a kind of address")?;
            let words: Vec<&str> = l.arg(0).split(',').collect();
            let known = ["ipv4", "ipv6", "auto"];
            if let Some(other) = words.iter().find(|w| !known.contains(w)) {
                return l.fail(0, crate::keyword::near("kind of address", other, &known));
            }
            r.global.dns_families = match (words.contains(&"ipv4"), words.contains(&"ipv6")) {
                _ if words.contains(&"auto") => model::Families::Auto,
                (true, true) => model::Families::Both,
                (true, false) => model::Families::Only(model::Family::V4),
                _ => model::Families::Only(model::Family::V6),
            };
            Ok(())
        }
    ),
    keyword!(
        "localpeer",
        "NAME",
        "one",
        "this machine's name among peers",
        |r, l| {
            let name = text(l, "a name")?;
            r.env.insert("HAPROXY_LOCALPEER".into(), name.clone());
            r.global.localpeer = Some(name.into());
            Ok(())
        }
    ),
    keyword!(
        "log",
        "TARGET [len N] [format F] FACILITY [LEVEL [MIN]]",
        "127.0.0.1:514 len 1024 format rfc5424 local0 info",
        "where lines go",
        |r, l| {
            r.global.logs.push(crate::log::parse(l)?);
            Ok(())
        }
    ),
    keyword!(
        "log-send-hostname",
        "[NAME]",
        "one",
        "write the machine's name into lines",
        |r, l| {
            l.surplus(1);
            r.global.log_send_hostname = Some(l.arg(0).into());
            Ok(())
        }
    ),
    keyword!(
        "log-tag",
        "TEXT",
        "web",
        "the program's name in lines",
        |r, l| {
            r.global.log_tag = Some(text(l, "a tag")?.into());
            Ok(())
        }
    ),
    keyword!(
        "master-worker",
        "[no-exit-on-failure]",
        "no-exit-on-failure",
        "a master watches over the worker",
        |r, l| {
            if !matches!(l.arg(0), "" | "no-exit-on-failure") {
                return l.fail(0, "'master-worker' has one option, 'no-exit-on-failure'");
            }
            l.surplus(1);
            r.global.master_worker = true;
            Ok(())
        }
    ),
    keyword!("maxconn", "N", "2000", "connections at most", |r, l| {
        r.global.maxconn = Some(num(l, 0, 1 << 30)? as u32).filter(|n| *n > 0);
        Ok(())
    }),
    keyword!("nbthread", "N", "4", "workers", |r, l| {
        r.global.nbthread = Some(num(l, 1, 1024)? as u32);
        Ok(())
    }),
    keyword!(
        "unix-bind",
        "[prefix P] [mode M] [user U|uid N] [group G|gid N]",
        "prefix /run/site- mode 660",
        "what all UNIX sockets of 'bind' have",
        |r, l| {
            r.bases.unix_bind = crate::bind::unix_bind(l)?;
            Ok(())
        }
    ),
    keyword!(
        "node",
        "NAME",
        "one",
        "this machine's name in the statistics",
        |r, l| {
            r.global.node = Some(text(l, "a name")?.into());
            Ok(())
        }
    ),
    keyword!(
        "noreuseport",
        "",
        "",
        "do not share listening ports",
        |r, l| {
            l.exactly(0, "nothing")?;
            r.global.noreuseport = true;
            Ok(())
        }
    ),
    keyword!(
        "nosplice",
        "",
        "",
        "copy bodies and streams instead of passing them through a kernel pipe",
        |r, l| {
            l.exactly(0, "nothing")?;
            r.global.nosplice = true;
            Ok(())
        }
    ),
    keyword!(
        "pidfile",
        "FILE",
        "/run/mulgil.pid",
        "where the process number is written",
        |r, l| {
            r.global.pidfile = Some(text(l, "a file")?.into());
            Ok(())
        }
    ),
    keyword!(
        "pp2-never-send-local",
        "",
        "",
        "checks tell servers of their own connection by 'send-proxy-v2', where LOCAL is not understood",
        |r, l| {
            l.exactly(0, "nothing")?;
            r.bases.never_local = true;
            r.global.pp2_never_send_local = true;
            Ok(())
        }
    ),
    keyword!(
        "presetenv",
        "NAME VALUE",
        "NAME value",
        "set a variable unless it is set",
        |r, l| {
            l.exactly(2, "a name and a value")?;
            if !r.env.contains_key(l.arg(0)) {
                r.env.insert(l.arg(0).into(), l.arg(1).into());
            }
            Ok(())
        }
    ),
    keyword!("quiet", "", "", "say nothing at start", |r, l| {
        l.exactly(0, "nothing")?;
        r.global.quiet = true;
        Ok(())
    }),
    keyword!(
        "resetenv",
        "[NAME]*",
        "HOME",
        "forget all variables but these",
        |r, l| {
            let keep = l.texts(0);
            r.env.retain(|name, _| keep.contains(&name.as_str()));
            Ok(())
        }
    ),
    keyword!(
        "setenv",
        "NAME VALUE",
        "NAME value",
        "set a variable",
        |r, l| {
            l.exactly(2, "a name and a value")?;
            r.env.insert(l.arg(0).into(), l.arg(1).into());
            Ok(())
        }
    ),
    keyword!(
        "ssl-default-bind-ciphers",
        "LIST",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "for bind lines with ssl",
        |r, l| {
            r.bases.tls.bind.preferences.ciphers = Some(text(l, "a list")?.into());
            Ok(())
        }
    ),
    keyword!(
        "ssl-default-bind-ciphersuites",
        "LIST",
        "TLS_AES_128_GCM_SHA256",
        "for bind lines with ssl",
        |r, l| {
            r.bases.tls.bind.preferences.ciphersuites = Some(text(l, "a list")?.into());
            Ok(())
        }
    ),
    keyword!(
        "ssl-default-bind-client-sigalgs",
        "LIST",
        "ECDSA+SHA256:RSA-PSS+SHA256",
        "signatures by which clients prove their certificates, for bind lines with ssl",
        |r, l| {
            r.bases.tls.bind.preferences.client_sigalgs = Some(text(l, "a list")?.into());
            Ok(())
        }
    ),
    keyword!(
        "ssl-default-bind-sigalgs",
        "LIST",
        "ECDSA+SHA256:RSA-PSS+SHA256",
        "signatures by which servers prove their certificates, for bind lines with ssl",
        |r, l| {
            r.bases.tls.bind.preferences.sigalgs = Some(text(l, "a list")?.into());
            Ok(())
        }
    ),
    keyword!(
        "ssl-default-server-client-sigalgs",
        "LIST",
        "ECDSA+SHA256:RSA-PSS+SHA256",
        "signatures by which clients prove their certificates, for servers with ssl",
        |r, l| {
            r.bases.tls.server.preferences.client_sigalgs = Some(text(l, "a list")?.into());
            Ok(())
        }
    ),
    keyword!(
        "ssl-default-server-sigalgs",
        "LIST",
        "ECDSA+SHA256:RSA-PSS+SHA256",
        "signatures by which servers prove their certificates, for servers with ssl",
        |r, l| {
            r.bases.tls.server.preferences.sigalgs = Some(text(l, "a list")?.into());
            Ok(())
        }
    ),
    keyword!(
        "issuers-chain-path",
        "DIR",
        "/etc/ssl/chains",
        "chains for certificates that come alone",
        |r, l| {
            let folder = text(l, "a directory")?;
            let files = l.source.list(&folder);
            let files = l.map(0, files.ok_or(format!("'{folder}' is no directory")))?;
            let mut chains = Vec::new();
            for file in files {
                let read = l.source.read(&file).and_then(|pem| tls::certificates(&pem));
                chains.push(l.map(0, read.map_err(|e| format!("'{file}' {e}")))?);
            }
            r.bases.tls.store.set_chain_rules(|c| c.chains = chains);
            Ok(())
        }
    ),
    keyword!(
        "key-base",
        "DIR",
        "/etc/ssl/private",
        "where keys lie that are not beside their certificates",
        |r, l| {
            let folder = text(l, "a directory")?;
            r.bases.tls.store.set_folders(|f| f.keys = Some(folder));
            Ok(())
        }
    ),
    keyword!(
        "ssl-security-level",
        "0-5",
        "2",
        "how weak keys may be: rustls allows none that level 2 of OpenSSL refuses",
        |_r, l| {
            let level = num(l, 0, 5)?;
            if level > 2 {
                return l.fail(0, format!("level {level} is not checked: certificates are taken as of level 2; choose what is stronger by 'ssl-default-bind-ciphers' and 'ssl-default-bind-curves'"));
            }
            Ok(())
        }
    ),
    keyword!(
        "ssl-skip-self-issued-ca",
        "",
        "",
        "certificates that vouch for themselves are not sent",
        |r, l| {
            l.exactly(0, "nothing")?;
            r.bases
                .tls
                .store
                .set_chain_rules(|c| c.skip_self_issued = true);
            Ok(())
        }
    ),
    keyword!(
        "ssl-load-extra-files",
        "none|all|bundle|sctl|ocsp|issuer|key …",
        "ocsp key",
        "which files beside certificates are looked for",
        |_, l| crate::tls::extra_files(l)
    ),
    keyword!(
        "ssl-load-extra-del-ext",
        "",
        "",
        "files beside certificates have their ending in the place of .crt",
        |r, l| {
            l.exactly(0, "nothing")?;
            r.bases
                .tls
                .store
                .set_extra_files(|f| f.instead_of_crt = true);
            Ok(())
        }
    ),
    keyword!(
        "tune.ssl.hard-maxrecord",
        "BYTES",
        "1419",
        "plain bytes in a record of TLS at most; 0 is no limit",
        |r, l| max_record(r, l)
    ),
    keyword!(
        "tune.ssl.lifetime",
        "TIME",
        "300s",
        "how long a session of TLS may be taken up again",
        |r, l| {
            l.exactly(1, "a time")?;
            let time = l.map(0, units::time(l.arg(0), 1_000_000))?;
            r.bases.tls.bind.lifetime = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
            Ok(())
        }
    ),
    keyword!(
        "ssl-propquery",
        "TEXT",
        "?fips",
        "taken with a warning: OpenSSL is not what encrypts",
        |_, l| other_cryptography(l)
    ),
    keyword!(
        "ssl-provider",
        "NAME",
        "default",
        "taken with a warning: OpenSSL is not what encrypts",
        |_, l| other_cryptography(l)
    ),
    keyword!(
        "ssl-provider-path",
        "DIR",
        "/usr/lib/ossl-modules",
        "taken with a warning: OpenSSL is not what encrypts",
        |_, l| other_cryptography(l)
    ),
    keyword!(
        "tune.ssl.keylog",
        "on|off",
        "on",
        "whether the secrets of connections are kept, for ssl_fc_session_key and its like",
        |r, l| {
            let on = switch(l)?;
            r.bases.tls.bind.keep_secrets = on;
            r.bases.tls.server.keep_secrets = on;
            Ok(())
        }
    ),
    keyword!(
        "ssl-default-bind-curves",
        "LIST",
        "X25519:P-256",
        "for bind lines with ssl",
        |r, l| {
            r.bases.tls.bind.preferences.curves = Some(text(l, "a list")?.into());
            Ok(())
        }
    ),
    keyword!(
        "ssl-default-bind-options",
        "[OPTION]*",
        "ssl-min-ver TLSv1.2",
        "for bind lines with ssl",
        |r, l| crate::tls::default_bind_options(l, &mut r.bases.tls.bind)
    ),
    keyword!(
        "ssl-default-server-ciphers",
        "LIST",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "for servers with ssl",
        |r, l| {
            r.bases.tls.server.preferences.ciphers = Some(text(l, "a list")?.into());
            Ok(())
        }
    ),
    keyword!(
        "ssl-default-server-ciphersuites",
        "LIST",
        "TLS_AES_128_GCM_SHA256",
        "for servers with ssl",
        |r, l| {
            r.bases.tls.server.preferences.ciphersuites = Some(text(l, "a list")?.into());
            Ok(())
        }
    ),
    keyword!(
        "ssl-default-server-options",
        "[OPTION]*",
        "ssl-min-ver TLSv1.2",
        "for servers with ssl",
        |r, l| crate::tls::default_server_options(l, &mut r.bases.tls)
    ),
    keyword!(
        "ssl-default-server-curves",
        "LIST",
        "X25519:P-256",
        "for servers with ssl",
        |r, l| {
            r.bases.tls.server.preferences.curves = Some(text(l, "a list")?.into());
            Ok(())
        }
    ),
    keyword!(
        "ssl-server-verify",
        "none|required",
        "required",
        "whether servers' certificates are checked",
        |r, l| match text(l, "none or required")?.as_str() {
            "none" => {
                r.bases.tls.server.verify = tls::Verify::None;
                Ok(())
            }
            "required" => {
                r.bases.tls.server.verify = tls::Verify::Required;
                Ok(())
            }
            other => l.fail(0, format!("'{other}' is neither none nor required")),
        }
    ),
    keyword!(
        "stats",
        "socket|timeout|maxconn …",
        "socket /run/mulgil.sock mode 660 level admin",
        "control sockets",
        |r, l| match l.arg(0) {
            "socket" => {
                let mut inner = Line {
                    skip: l.skip + 1,
                    warnings: Vec::new(),
                    table_uses: Default::default(),
                    ..*l
                };
                if inner.args().is_empty() {
                    return l.fail(
                        0,
                        "'stats socket' wants an address, such as /run/mulgil.sock",
                    );
                }
                let socket = crate::control::stats_socket(&mut inner);
                l.warnings = inner.warnings;
                r.global.stats_sockets.push(socket?);
                Ok(())
            }
            "timeout" => {
                r.global.stats_timeout = l.map(1, units::timeout(l.arg(1)))?;
                Ok(())
            }
            "maxconn" => {
                r.global.stats_maxconn =
                    Some(l.map(1, units::number(l.arg(1), 1, 1 << 20))? as u32);
                Ok(())
            }
            other => l.fail(
                0,
                crate::keyword::near("stats word", other, &["socket", "timeout", "maxconn"])
            ),
        }
    ),
    keyword!(
        "stats-file",
        "FILE",
        "/var/lib/mulgil/statistics",
        "counters to begin with, as 'dump stats-file' wrote them",
        |r, l| {
            r.global.stats_file = Some(text(l, "a file")?.into());
            Ok(())
        }
    ),
    keyword!(
        "thread-groups",
        "N",
        "1",
        "accepted: all workers are one group",
        |r, l| {
            r.global.thread_groups = Some(num(l, 1, 64)? as u32);
            Ok(())
        }
    ),
    keyword!(
        "uid",
        "N",
        "0",
        "the user's number while serving",
        |r, l| {
            r.global.uid = Some(num(l, 0, u32::MAX.into())? as u32);
            Ok(())
        }
    ),
    keyword!("ulimit-n", "N", "10000", "descriptors", |r, l| {
        r.global.ulimit_n = Some(num(l, 0, 1 << 30)?);
        Ok(())
    }),
    keyword!(
        "unsetenv",
        "NAME [NAME]*",
        "NAME",
        "forget variables",
        |r, l| {
            if l.args().is_empty() {
                return l.fail(0, "'unsetenv' wants the names of variables");
            }
            for name in l.texts(0) {
                r.env.remove(name);
            }
            Ok(())
        }
    ),
    keyword!(
        "user",
        "NAME",
        "nobody",
        "the user while serving",
        |r, l| {
            let name = text(l, "a user")?;
            r.global.uid = Some(
                l.map(
                    0,
                    l.source
                        .user(&name)
                        .ok_or_else(|| format!("there is no user '{name}' on this machine")),
                )?,
            );
            r.global.user = Some(name.into());
            Ok(())
        }
    ),
    keyword!("zero-warning", "", "", "warnings are errors", |r, l| {
        l.exactly(0, "nothing")?;
        r.global.zero_warning = true;
        Ok(())
    }),
    keyword!(
        "tune.bufsize",
        "SIZE",
        "32k",
        "the largest message head, with tune.maxrewrite",
        |r, l| {
            r.global.tuning.bufsize = size(l, 1024, 1 << 28)?;
            Ok(())
        }
    ),
    keyword!(
        "tune.maxrewrite",
        "SIZE",
        "1024",
        "the part of it kept for rewriting",
        |r, l| {
            r.global.tuning.maxrewrite = size(l, 0, 1 << 27)?;
            Ok(())
        }
    ),
    keyword!(
        "tune.peers.max-updates-at-once",
        "N",
        "200",
        "entries of stick tables that are told to a peer in one go",
        |r, l| {
            l.exactly(1, "a number")?;
            let most = l.map(0, crate::units::number(l.arg(0), 1, 1 << 20))?;
            r.global.tuning.peer_updates = most as u32;
            Ok(())
        }
    ),
    keyword!(
        "max-spread-checks",
        "TIME",
        "2s",
        "the first checks are spread over no more than this",
        |r, l| {
            l.exactly(1, "a time")?;
            let time = l.map(0, crate::units::time(l.arg(0), 1_000))?;
            r.global.tuning.max_spread_checks = Some(time);
            Ok(())
        }
    ),
    keyword!(
        "spread-checks",
        "PERCENT",
        "5",
        "intervals of checks vary by so much, 0 to 50",
        |r, l| {
            l.exactly(1, "a percentage")?;
            let percent = l.map(0, crate::units::number(l.arg(0), 0, 50))?;
            r.global.tuning.spread_checks = percent as u32;
            Ok(())
        }
    ),
    keyword!(
        "tune.max-checks-per-thread",
        "N",
        "100",
        "checks that a worker has under way at a time; 0 is no limit",
        |r, l| {
            l.exactly(1, "a number")?;
            let most = l.map(0, crate::units::number(l.arg(0), 0, 65_535))?;
            r.global.tuning.max_checks = most as u32;
            Ok(())
        }
    ),
    keyword!(
        "tune.stick-counters",
        "N",
        "3",
        "how many entries of stick tables a session may track at once",
        |r, l| {
            r.bases.stick_counters = Some(num(l, 0, 100)? as usize);
            Ok(())
        }
    ),
    keyword!(
        "tune.vars.global-max-size",
        "BYTES",
        "65536",
        "what the variables of a session may take, all together",
        |r, l| {
            r.global.tuning.vars.all = size(l, 0, 1 << 40)?;
            Ok(())
        }
    ),
    keyword!(
        "tune.vars.reqres-max-size",
        "BYTES",
        "4096",
        "what the variables of a request and its response may take",
        |r, l| {
            r.global.tuning.vars.reqres = size(l, 0, 1 << 40)?;
            Ok(())
        }
    ),
    keyword!(
        "tune.vars.sess-max-size",
        "BYTES",
        "8192",
        "what the variables of a session and its requests may take",
        |r, l| {
            r.global.tuning.vars.sess = size(l, 0, 1 << 40)?;
            Ok(())
        }
    ),
    keyword!(
        "tune.vars.txn-max-size",
        "BYTES",
        "8192",
        "what the variables of a transaction may take",
        |r, l| {
            r.global.tuning.vars.txn = size(l, 0, 1 << 40)?;
            Ok(())
        }
    ),
    keyword!(
        "tune.vars.proc-max-size",
        "BYTES",
        "65536",
        "what the variables of the process may take",
        |r, l| {
            r.global.tuning.vars.proc = size(l, 0, 1 << 40)?;
            Ok(())
        }
    ),
    keyword!(
        "tune.ssl.capture-cipherlist-size",
        "SIZE",
        "96",
        "bytes kept of the lists in a client's hello, for ssl_fc_cipherlist_bin and its like",
        |r, l| {
            r.bases.tls.bind.capture = size(l, 0, 1 << 16)?;
            Ok(())
        }
    ),
    keyword!(
        "tune.ssl.capture-buffer-size",
        "SIZE",
        "96",
        "bytes kept of the lists in a client's hello, for ssl_fc_cipherlist_bin and its like",
        |r, l| {
            r.bases.tls.bind.capture = size(l, 0, 1 << 16)?;
            Ok(())
        }
    ),
    keyword!(
        "tune.ssl.cachesize",
        "N",
        "20000",
        "TLS sessions kept for clients without tickets",
        |r, l| {
            r.bases.tls.bind.cache = num(l, 0, 1 << 24)? as usize;
            Ok(())
        }
    ),
    keyword!(
        "tune.packet.flows",
        "N",
        "1000000",
        "sessions that 'mode packet' remembers at most; 1 million when not set",
        |r, l| {
            r.global.tuning.packet_flows = num(l, 1, 16 << 20)? as u32;
            Ok(())
        }
    ),
    keyword!(
        "sysctl",
        "auto",
        "auto",
        "settings of the kernel that 'mode packet' needs are set at the start, and restored by 'mulgil packet detach'",
        |r, l| {
            l.exactly(1, "auto")?;
            if l.arg(0) != "auto" {
                return l.fail(0, near("word after 'sysctl'", l.arg(0), &["auto"]));
            }
            r.global.tuning.sysctl_auto = true;
            Ok(())
        }
    ),
    keyword!(
        "tune.packet.attach",
        "auto|xdp|tcx|clsact",
        "auto",
        "where the programs of 'mode packet' stand: 'auto' is the driver where that is right, else behind it",
        |r, l| {
            l.exactly(1, "auto, xdp, tcx or clsact")?;
            r.global.tuning.packet_attach = match l.arg(0) {
                "auto" => PacketAttach::Auto,
                "xdp" => PacketAttach::Xdp,
                "tcx" => PacketAttach::Tcx,
                "clsact" => PacketAttach::Clsact,
                other => {
                    let places = ["auto", "xdp", "tcx", "clsact"];
                    return l.fail(0, near("place for programs", other, &places));
                }
            };
            Ok(())
        }
    ),
    keyword!(
        "tune.http.cookielen",
        "N",
        "128",
        "bytes that 'capture cookie' keeps at most; 63 when not set",
        |r, l| {
            r.global.tuning.http_cookielen = num(l, 2, 1 << 16)? as usize;
            Ok(())
        }
    ),
    keyword!(
        "tune.http.logurilen",
        "N",
        "4096",
        "bytes of a request's first line in logs at most; 1024 when not set",
        |r, l| {
            r.global.tuning.http_logurilen = num(l, 2, 1 << 20)? as usize;
            Ok(())
        }
    ),
    keyword!(
        "tune.http.maxhdr",
        "N",
        "200",
        "header fields at most",
        |r, l| {
            r.global.tuning.http_maxhdr = num(l, 1, 32767)? as usize;
            Ok(())
        }
    ),
];

/// Keywords that tune HAProxy's insides: accepted, and without effect here, because there is
/// nothing of that kind to tune.
pub static TUNES_WITHOUT_EFFECT: &[&str] = &[
    "busy-polling",
    "close-spread-time",
    "cluster-secret",
    "cpu-policy",
    "debug.counters",
    "expose-deprecated-directives",
    "expose-experimental-directives",
    "force-cfg-parser-pause",
    "h2-workaround-bogus-websocket-clients",
    "harden.reject-privileged-ports.quic",
    "httpclient.resolvers.disabled",
    "httpclient.resolvers.id",
    "httpclient.resolvers.prefer",
    "httpclient.retries",
    "httpclient.ssl.ca-file",
    "httpclient.ssl.verify",
    "httpclient.timeout.connect",
    "insecure-setuid-wanted",
    "limited-quic",
    "max-threads-per-group",
    "maxpipes",
    "maxzlibmem",
    "mworker-max-reloads",
    "no-memory-trimming",
    "noepoll",
    "noevports",
    "nogetaddrinfo",
    "nokqueue",
    "noktls",
    "nopoll",
    "numa-cpu-mapping",
    "ocsp-update.disable",
    "ocsp-update.httpproxy",
    "ocsp-update.maxdelay",
    "ocsp-update.mindelay",
    "prealloc-fd",
    "profiling.memory",
    "profiling.tasks",
    "set-dumpable",
    "ssl-dh-param-file",
    "ssl-mode-async",
    "strict-limits",
    "thread-group",
    "tune.applet.zero-copy-forwarding",
    "tune.buffers.limit",
    "tune.buffers.reserve",
    "tune.bufsize.large",
    "tune.bufsize.small",
    "tune.cli.max-payload-size",
    "tune.comp.maxlevel",
    "tune.defaults.purge",
    "tune.disable-fast-forward",
    "tune.disable-zero-copy-forwarding",
    "tune.epoll.mask-events",
    "tune.events.max-events-at-once",
    "tune.fail-alloc",
    "tune.fd.edge-triggered",
    "tune.fd.tables",
    "tune.h1.be.glitches-threshold",
    "tune.h1.fe.glitches-threshold",
    "tune.h1.zero-copy-fwd-recv",
    "tune.h1.zero-copy-fwd-send",
    "tune.h2.be.glitches-threshold",
    "tune.h2.be.initial-window-size",
    "tune.h2.be.max-concurrent-streams",
    "tune.h2.be.max-frames-at-once",
    "tune.h2.be.rxbuf",
    "tune.h2.fe.glitches-threshold",
    "tune.h2.fe.initial-window-size",
    "tune.h2.fe.max-concurrent-streams",
    "tune.h2.fe.max-frames-at-once",
    "tune.h2.fe.max-rst-at-once",
    "tune.h2.fe.max-total-streams",
    "tune.h2.fe.rxbuf",
    "tune.h2.header-table-size",
    "tune.h2.initial-window-size",
    "tune.h2.max-concurrent-streams",
    "tune.h2.max-frame-size",
    "tune.h2.zero-copy-fwd-send",
    "tune.idle-pool.shared",
    "tune.idletimer",
    "tune.listener.default-shards",
    "tune.listener.multi-queue",
    "tune.lua.bool-sample-conversion",
    "tune.lua.burst-timeout",
    "tune.lua.forced-yield",
    "tune.lua.log.loggers",
    "tune.lua.log.stderr",
    "tune.lua.maxmem",
    "tune.lua.openlibs",
    "tune.lua.service-timeout",
    "tune.lua.session-timeout",
    "tune.lua.task-timeout",
    "tune.max-rules-at-once",
    "tune.maxaccept",
    "tune.maxpollevents",
    "tune.memory.hot-size",
    "tune.pattern.cache-size",
    "tune.pipesize",
    "tune.pool-high-fd-ratio",
    "tune.pool-low-fd-ratio",
    "tune.pt.zero-copy-forwarding",
    "tune.quic.be.cc.cubic-min-losses",
    "tune.quic.be.cc.hystart",
    "tune.quic.be.cc.max-frame-loss",
    "tune.quic.be.cc.max-win-size",
    "tune.quic.be.cc.reorder-ratio",
    "tune.quic.be.max-idle-timeout",
    "tune.quic.be.sec.glitches-threshold",
    "tune.quic.be.stream.data-ratio",
    "tune.quic.be.stream.max-concurrent",
    "tune.quic.be.stream.rxbuf",
    "tune.quic.be.tx.pacing",
    "tune.quic.be.tx.udp-gso",
    "tune.quic.fe.cc.cubic-min-losses",
    "tune.quic.fe.cc.hystart",
    "tune.quic.fe.cc.max-frame-loss",
    "tune.quic.fe.cc.max-win-size",
    "tune.quic.fe.cc.reorder-ratio",
    "tune.quic.fe.max-idle-timeout",
    "tune.quic.fe.sec.glitches-threshold",
    "tune.quic.fe.sec.retry-threshold",
    "tune.quic.fe.sock-per-conn",
    "tune.quic.fe.stream.data-ratio",
    "tune.quic.fe.stream.max-concurrent",
    "tune.quic.fe.stream.max-total",
    "tune.quic.fe.stream.rxbuf",
    "tune.quic.fe.tx.pacing",
    "tune.quic.fe.tx.udp-gso",
    "tune.quic.listen",
    "tune.quic.mem.tx-max",
    "tune.quic.zero-copy-fwd-send",
    "tune.rcvbuf.backend",
    "tune.rcvbuf.client",
    "tune.rcvbuf.frontend",
    "tune.rcvbuf.server",
    "tune.recv_enough",
    "tune.renice.runtime",
    "tune.renice.startup",
    "tune.ring.queues",
    "tune.runqueue-depth",
    "tune.sched.low-latency",
    "tune.sndbuf.backend",
    "tune.sndbuf.client",
    "tune.sndbuf.frontend",
    "tune.sndbuf.server",
    "tune.ssl.certificate-compression",
    "tune.ssl.default-dh-param",
    "tune.ssl.force-private-cache",
    "tune.ssl.keyupdate-rate-limit",
    "tune.ssl.maxrecord",
    "tune.ssl.ocsp-update.maxdelay",
    "tune.ssl.ocsp-update.mindelay",
    "tune.ssl.ssl-ctx-cache-size",
    "tune.streams-elasticity",
    "tune.takeover-other-tg-connections",
    "tune.zlib.memlevel",
    "tune.zlib.windowsize",
    "warn-blocked-traffic-after",
];

/// Reads one line of `global`.
pub fn line(reading: &mut Reading<'_>, l: &mut Line<'_>) -> Result<(), Fault> {
    let name = l.words.first().map_or("", |w| w.text.as_str());
    if let Some(fault) = removed::of_global(l) {
        return Err(fault);
    }
    if let Some(keyword) = GLOBAL_KEYWORDS.iter().find(|k| k.name == name) {
        match (name, l.negated) {
            ("insecure-fork-wanted", true) => reading.global.insecure_fork = false,
            ("log", true) => {
                l.exactly(0, "nothing after 'no log'")?;
                reading.global.logs.clear();
            }
            (_, true) => return Err(not_negatable(name)),
            (_, false) => return (keyword.parse)(reading, l),
        }
        return Ok(());
    }
    if TUNES_WITHOUT_EFFECT.contains(&name) {
        let negatable = [
            "busy-polling",
            "h2-workaround-bogus-websocket-clients",
            "set-dumpable",
            "strict-limits",
            "numa-cpu-mapping",
        ];
        if l.negated && !negatable.contains(&name) {
            return Err(not_negatable(name));
        }
        return Ok(());
    }
    if include_str!("known/global.txt").lines().any(|k| k == name) {
        return Err(Fault::at(
            0,
            format!("'{name}' is a keyword of HAProxy that mulgil does not have yet"),
        ));
    }
    let names = GLOBAL_KEYWORDS
        .iter()
        .map(|k| k.name)
        .chain(TUNES_WITHOUT_EFFECT.iter().copied());
    Err(Fault::at(
        0,
        match rules::nearest(name, names) {
            Some(near) => format!("unknown keyword '{name}' in 'global': did you mean '{near}'?"),
            None if name.starts_with("//") => {
                "'//' starts no comment: comments start with '#'".to_string()
            }
            None => format!("unknown keyword '{name}' in 'global'"),
        },
    ))
}

/// A header name in lower case, and how it is to be written.
type Case = (Box<[u8]>, Box<[u8]>);

fn header_case(from: &str, to: &str) -> Result<Case, String> {
    if from.is_empty() || !from.eq_ignore_ascii_case(to) {
        return Err(format!("'{to}' must be '{from}' but for its case"));
    }
    Ok((
        from.to_ascii_lowercase().as_bytes().into(),
        to.as_bytes().into(),
    ))
}

fn add_case(known: &mut BTreeMap<Box<[u8]>, Box<[u8]>>, pair: Case) -> Result<(), String> {
    let name = String::from_utf8_lossy(&pair.0).into_owned();
    match known.insert(pair.0, pair.1) {
        None => Ok(()),
        Some(_) => Err(format!(
            "'{name}' is written in another way already: remove one"
        )),
    }
}

fn not_negatable(name: &str) -> Fault {
    let message = format!(
        "'{name}' cannot be taken back with 'no' or 'default': remove the line that sets it"
    );
    Fault::at(0, message)
}

/// `tune.ssl.hard-maxrecord`: of both sides.
fn max_record(r: &mut Reading<'_>, l: &Line<'_>) -> Result<(), Fault> {
    // Below this rustls makes no records, and what is beyond is no limit.
    let n = num(l, 0, 1 << 20)?;
    if (1..LEAST_RECORD).contains(&n) {
        return l.fail(
            0,
            format!(
                "records of {n} bytes are too small: use {LEAST_RECORD} or more, or 0 for no limit"
            ),
        );
    }
    let n = u16::try_from(n).ok().filter(|n| *n < 1 << 14).unwrap_or(0);
    r.bases.tls.bind.preferences.max_record = n;
    r.bases.tls.server.preferences.max_record = n;
    Ok(())
}

const LEAST_RECORD: u64 = 64;

/// What names modules of OpenSSL.
fn other_cryptography(l: &mut Line<'_>) -> Result<(), Fault> {
    text(l, "a name")?;
    let message = format!(
        "'{}' is without effect: cryptography is that of aws-lc, no module of OpenSSL is loaded",
        l.keyword()
    );
    l.warnings.push(Fault::warning(l.skip, message));
    Ok(())
}

fn size(l: &Line<'_>, least: u64, most: u64) -> Result<usize, Fault> {
    l.exactly(1, "a size")?;
    let n = l.map(0, units::size(l.arg(0)))?;
    if (least..=most).contains(&n) {
        Ok(n as usize)
    } else {
        l.fail(0, format!("{n} is out of range: {least} to {most}"))
    }
}

/// `set-var proc.NAME EXPR`: the rule of the same name that is run once.
fn set_var(r: &mut Reading<'_>, l: &Line<'_>, action: &str) -> Result<(), Fault> {
    l.exactly(2, "a variable and a value")?;
    let name = l.arg(0);
    if !name.starts_with("proc.") {
        return l.fail(
            0,
            format!("'{name}' cannot be set here: only 'proc.NAME' lives as long as the process"),
        );
    }
    let word = format!("{action}({name})");
    let rule = l.rules(1, &rules::Acls::default(), |words, scope| {
        let words: Vec<&str> = [&[&*word], words].concat();
        rules::Rule::parse(rules::RuleSet::HttpRequest, &words, scope).map_err(|e| {
            rules::ParseError {
                word: e.word.saturating_sub(1),
                ..e
            }
        })
    })?;
    r.global.set_vars.push(Arc::new(rule));
    Ok(())
}

/// `1-4 0-3`, `auto:1-4 0-3`, `1/all 0`.
fn cpu_map(r: &mut Reading<'_>, l: &mut Line<'_>) -> Result<(), Fault> {
    let spec = l.arg(0);
    let threads = spec.strip_prefix("auto:").unwrap_or(spec);
    let threads = threads.rsplit('/').next().unwrap_or_default();
    let auto = spec.starts_with("auto:");
    let threads = l.map(0, set(threads))?;
    let mut cpus = Vec::new();
    for at in 1..l.args().len() {
        cpus.extend(l.map(at, set(l.arg(at)))?);
    }
    if cpus.is_empty() {
        return l.fail(0, "'cpu-map' wants threads and CPUs, such as 1-4 0-3");
    }
    if auto {
        for (thread, cpu) in threads.iter().zip(&cpus) {
            r.global.cpu_map.push((vec![*thread], vec![*cpu]));
        }
    } else {
        r.global.cpu_map.push((threads, cpus));
    }
    Ok(())
}

fn set(text: &str) -> Result<Vec<u32>, String> {
    let bad = || format!("'{text}' is no set of numbers, such as 1,3-4");
    match text {
        "all" | "odd" | "even" => {
            return Ok((1..=64)
                .filter(|n| text == "all" || (n % 2 == 1) == (text == "odd"))
                .collect());
        }
        _ => {}
    }
    let mut out = Vec::new();
    for part in text.split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let low: u32 = low.parse().map_err(|_| bad())?;
        let high: u32 = if high.is_empty() {
            64
        } else {
            high.parse().map_err(|_| bad())?
        };
        if high < low || high > 4096 {
            return Err(bad());
        }
        out.extend(low..=high);
    }
    Ok(out)
}
