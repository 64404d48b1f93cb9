//! `peers` sections: this machine alone may stand there yet.

mod common;

use common::{Files, said};

const REST: &str = "frontend f\n bind 127.0.0.1:8001\n timeout client 1s\n mode http\n http-request track-sc0 src table p/t\n http-request track-sc1 path table f2\nbackend f2\n stick-table type string size 10 peers p\n";

fn of(section: &str) -> Vec<String> {
    let text = format!("global\n localpeer one\n{section}{REST}");
    said(&Files::with(&text).load(&["a.cfg"]))
}

#[test]
fn this_machine_may_stand_there_with_tables_of_its_own() {
    let table = " table t type ip size 1k expire 1m store conn_cur\n";
    for peers in [
        "peer one 127.0.0.1:10000\n",
        "bind 127.0.0.1:10000\n server one\n",
        "peer one 127.0.0.1:10000\n peer two 192.0.2.2:10000\n disabled\n",
    ] {
        let said = of(&format!("peers p\n {peers}{table}"));
        assert!(said.is_empty(), "{peers}: {said:?}");
    }
    let text = format!("global\n localpeer one\npeers p\n peer one 127.0.0.1:1\n{table}{REST}");
    let config = Files::with(&text)
        .load(&["a.cfg"])
        .config
        .expect("a configuration");
    let names: Vec<&str> = config.tables.iter().map(|t| &*t.name).collect();
    assert_eq!(names, ["f2", "p/t"]);
}

#[test]
fn what_is_not_there_is_refused_with_its_remedy() {
    let table = " table t type ip size 1k\n";
    for (section, parts) in [
        ("peers p\n", "has no peer called 'one'"),
        ("peers q\n peer one 127.0.0.1:1\n", "no 'peers p'"),
        ("peers p\n peer one nowhere\n", "port"),
        (
            "peers p\n peer one 127.0.0.1:1\n peer one 127.0.0.1:1\n",
            "there is a peer 'one' already",
        ),
        (
            "peers p\n peer one 127.0.0.1:1\n tabel t type ip size 1k\n",
            "did you mean 'table'",
        ),
        (
            "peers p\n peer one 127.0.0.1:1\n default-bind ssl\n",
            "needs a certificate",
        ),
        (
            "peers p\n peer one 127.0.0.1:1\n table t size 1k\n",
            "wants a type",
        ),
        (
            "peers p\n peer one 127.0.0.1:1\n table t type ip size 1k peers p\n",
            "belongs to its section",
        ),
        (
            "peers p\n peer one 127.0.0.1:1\npeers p\n peer one 127.0.0.1:1\n",
            "there is a 'peers p' already",
        ),
    ] {
        let said = of(&format!("{section}{table}")).join("\n");
        assert!(said.contains(parts), "{section}: {said}");
    }
}
