//! Maps and ACLs that are changed while running: commands and actions, beside the oracle.

use lab::{Folder, PATIENCE, Program, Proxy, each, get, port};
use std::cell::RefCell;
use std::time::Instant;

const TIMES: &str = "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 1s\n";

/// Runs commands and requests (`GET …`) through every program and compares what they say, but for
/// the addresses of entries. `$` is the folder of the maps.
fn alike(config: &str, commands: &[&str]) {
    let said: RefCell<Option<Vec<String>>> = RefCell::new(None);
    each(|program| {
        let folder = Folder::new();
        for (name, text) in [
            (
                "m",
                "/a 1\n/ab 2\n/a 3\n# c\n/b two words  here \n\nkey\nb 9\n",
            ),
            ("n", "1 5\n2:4 6\n"),
            ("i", "10.0.0.0/8 192.0.2.1\n10.1.0.0/16 192.0.2.2\n"),
            ("l", "/l1\n/l2 x\n#c\n"),
        ] {
            folder.file(name, text.as_bytes());
        }
        let port = port();
        let config = config.replace("PORT", &port.to_string());
        let proxy = Proxy::start(program, &config.replace('$', &folder.path("")));
        let ask = |command: &&str| {
            let answer = match command.strip_prefix("GET ") {
                Some(path) => get(port, path).body,
                None => proxy.control(&command.replace('$', &folder.path(""))),
            };
            let answer = answer.replace(&folder.path(""), "$");
            let lines = answer.lines().map(|line| match line.split_once(' ') {
                Some((address, rest)) if address.starts_with("0x") => format!("0x {rest}"),
                _ => line.to_string(),
            });
            format!("{command}\n{}", lines.collect::<Vec<_>>().join("\n"))
        };
        let all: Vec<String> = commands.iter().map(ask).collect();
        if let Some(other) = said.borrow().as_ref() {
            assert_eq!(*other, all, "{}", program.name);
        }
        said.replace(Some(all));
    });
}

#[test]
fn commands_on_maps_answer_like_the_oracle() {
    let config = format!(
        "{TIMES}frontend f\n    bind 127.0.0.1:PORT\n    http-request return status 200 content-type text/plain lf-string %[path,map($m,none)]-%[path,map_beg($m,none)]-%[path,map_end($m,none)]-%[src,map_ip_ip($i)]-%[int(3),map_int_int($n,0)]\n"
    );
    let commands = [
        "GET /abc",
        "GET /a",
        "show map $m",
        "show map #99",
        "show map nofile",
        "get map $m /a",
        "get map $m /abx",
        "get map $m zzz",
        "get map $n 3",
        "get map $i 10.1.2.3",
        "get map $i 10.9.2.3",
        "get map $m",
        "add map",
        "add map $m",
        "add map $m /n",
        "add map $m /n new value",
        "GET /n",
        "show map $m",
        "add map $n 10 abc",
        "add map $n abc 1",
        "add map $n 10 11",
        "add map $i 1.2.x 4.4.4.4",
        "add map $i 127.0.0.0/8 4.4.4.4",
        "GET /",
        "show map $n",
        "set map $m /a 77",
        "set map $m /nokey 77",
        "set map $m /a",
        "set map",
        "set map $m #0x12 4",
        "GET /a",
        "show map $m",
        "del map $m /a",
        "GET /a",
        "del map $m /a",
        "del map",
        "del map $m #0x1",
        "clear map $m",
        "GET /b",
        "show map $m",
        "clear map nofile",
        "clear map",
        "add map $m <<\n/k1 v1\n/k2 v2\n",
        "add map $m <<\n/k1\n",
        "show map $m",
        "prepare map",
        "prepare map $m",
        "add map @1 $m /new 1",
        "add map @1 $m <<\n/p1 v1\n/p2 v2\n",
        "show map @1 $m",
        "show map $m",
        "GET /p1",
        "show map @1",
        "show map @7 $m",
        "add map @9 $m q r",
        "commit map @5 $m",
        "commit map $m",
        "commit map @1 $m",
        "commit map @1 $m",
        "GET /p1",
        "show map $m",
        "prepare map $m",
        "add map @2 $m <<\n/p1 v1\n/p2 v2\n",
        "clear map @2 $m",
        "show map @2 $m",
        "commit map @2 $m",
        "show map $m",
        "GET /p1",
    ];
    alike(&config, &commands);
}

#[test]
fn commands_on_acls_answer_like_the_oracle() {
    let config = format!(
        "{TIMES}frontend f\n    bind 127.0.0.1:PORT\n    acl beg path_beg -u 20 /x /y\n    acl fold path -u 21 -m str -i -f $l\n    acl fold path -u 22 -m str -f $l\n    acl ips src -u 23 127.0.0.2 ::1\n    acl ints req.hdr_val(x) -u 24 gt 5 lt 3 7:9\n    acl expr path_reg -u 25 -i ^/r\n    acl both path -u 26 -M -f $m\n    http-request return status 200 content-type text/plain string beg if beg\n    http-request return status 200 content-type text/plain string fold if fold\n    http-request return status 200 content-type text/plain string ips if ips\n    http-request return status 200 content-type text/plain string expr if expr\n    http-request return status 200 content-type text/plain string both if both\n    http-request return status 200 content-type text/plain string ints if ints\n    http-request return status 200 content-type text/plain string none\n"
    );
    let commands = [
        "show acl #20",
        "show acl #24",
        "show acl $l",
        "GET /l1",
        "GET /L1",
        "get acl $l /L1",
        "get acl $l /l1",
        "get acl #20 /xyz",
        "get acl #23 ::1",
        "get acl #24 8",
        "get acl #25 /RR",
        "get acl",
        "add acl $l /zz",
        "GET /zz",
        "add acl $l",
        "add acl #23 xyz",
        "GET /none",
        "add acl #23 127.0.0.0/8",
        "GET /none",
        "del acl #23 127.0.0.0/8",
        "GET /none",
        "del acl $l /zz",
        "del acl $l /zz",
        "del acl $l",
        "GET /zz",
        "add acl #20 /zz",
        "GET /zzz",
        "clear acl #20",
        "GET /zzz",
        "show acl #20",
        "GET /ab",
        "add acl $m /q",
        "show acl $m",
        "get acl $m /ab",
        "prepare acl $l",
        "add acl @1 $l /v1",
        "GET /v1",
        "commit acl @1 $l",
        "GET /v1",
        "GET /l1",
    ];
    alike(&config, &commands);
}

#[test]
fn rules_change_maps_and_acls_like_the_oracle() {
    let config = format!(
        "{TIMES}frontend f\n    bind 127.0.0.1:PORT\n    http-request set-map($m) %[path] v%[url_param(v)] if {{ url_param(do) -m str set }}\n    http-request del-map($m) %[path] if {{ url_param(do) -m str del }}\n    http-request add-acl($l) %[path] if {{ url_param(do) -m str add }}\n    http-request del-acl($l) %[path] if {{ url_param(do) -m str gone }}\n    http-request return status 200 content-type text/plain lf-string %[path,map($m,none)]-%[path,map_sub($m,none)] if !{{ path -f $l }}\n    http-request return status 200 content-type text/plain string listed\n"
    );
    let commands = [
        "GET /a",
        "GET /set?do=set&v=1",
        "GET /set",
        "GET /set?do=set&v=2",
        "show map $m",
        "GET /a?do=set&v=3",
        "show map $m",
        "GET /a?do=del",
        "GET /a?do=del",
        "show map $m",
        "GET /s?do=add",
        "GET /s?do=add",
        "show acl $l",
        "GET /s?do=gone",
        "show acl $l",
        "GET /l1",
    ];
    alike(&config, &commands);
}

#[test]
fn what_a_list_was_given_outlives_a_reload_until_its_file_changes() {
    let folder = Folder::new();
    let map = folder.file("m", b"/a file\n");
    let port = port();
    let text = format!(
        "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n    http-request return status 200 content-type text/plain lf-string %[path,map({map},none)]-%[path,map(virt@x,none)]-%[path,map(opt@{map}.none,none)]\n"
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let reload = |times: usize| {
        proxy.control("reload");
        let end = Instant::now() + PATIENCE;
        while proxy
            .control("show info")
            .contains(&format!("Reloads: {times}\n"))
        {
            assert!(Instant::now() < end, "no reload");
        }
    };
    proxy.control(&format!("add map {map} /n added"));
    proxy.control("add map virt@x /n virtual");
    proxy.control(&format!("add map {map}.none /n optional"));
    assert_eq!(get(port, "/n").body, "added-virtual-optional");
    // Another rule: the frontend is new, its map is the one that was.
    let more = std::fs::read_to_string(&proxy.file).expect("a file")
        + "    http-response set-header x-more yes\n";
    std::fs::write(&proxy.file, &more).expect("a file");
    reload(0);
    assert_eq!(get(port, "/n").body, "added-virtual-optional");
    proxy.control(&format!("set map {map} /n again"));
    assert_eq!(get(port, "/n").body, "again-virtual-optional");
    folder.file("m", b"/a changed\n");
    reload(1);
    assert_eq!(get(port, "/n").body, "none-virtual-optional");
    assert_eq!(get(port, "/a").body, "changed-none-none");
}
