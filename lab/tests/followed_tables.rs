//! Stick tables that follow to the machine that takes over (`sync sessions` of a `vrrp` section).

use lab::Folder;
use lab::net::{Net, Router, possible, until};

const VIP: &str = "203.0.113.10";

/// A router that counts requests by address, and refuses the fourth.
fn config(key: &str, n: u8) -> String {
    format!(
        "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 1s\n\
         frontend web\n    bind {VIP}:80\n    http-request track-sc0 src table clients\n    \
         http-request deny deny_status 429 if {{ sc0_http_req_cnt gt 3 }}\n    \
         http-request return status 200 content-type text/plain string served-{n}\n\
         listen admin\n    bind 203.0.113.{n}:8404\n    stats enable\n    stats uri /stats\n    \
         http-request use-service prometheus-exporter if {{ path /metrics }}\n\
         backend clients\n    stick-table type ip size 100k expire 10m store http_req_cnt,http_req_rate(10m),conn_cur\n\
         vrrp public\n    interface eth0\n    virtual-router-id 51\n    priority {}\n    \
         advertise-interval 100ms\n    address {VIP}/24\n    peer 10.9.0.{}\n    peer-key {key}\n    sync sessions\n",
        250 - n,
        3 - n
    )
}

fn in_sync(router: &Router, direction: &str) {
    until("the tables are in step", || {
        let shown = router.vrrp("public", "sync");
        shown.starts_with("tables") && shown.contains(&format!("{direction} in-sync"))
    });
}

#[test]
fn who_has_used_up_a_limit_is_refused_by_the_machine_that_takes_over_too() {
    if !possible() {
        return;
    }
    let net = Net::new(2);
    let folder = Folder::new();
    let key = folder.file("key", b"0123456789abcdef0123456789abcdef");
    let first = Router::start(&net, 1, &config(&key, 1));
    first.wait_for("public", "state", "active");
    // One before there is anybody to tell, the others while there is.
    assert_eq!(net.get(VIP), "served-1");
    let second = Router::start(&net, 2, &config(&key, 2));
    in_sync(&first, "sending");
    in_sync(&second, "receiving");
    assert_eq!(net.get(VIP), "served-1");
    assert_eq!(net.get(VIP), "served-1");
    let entry = |router: &Router, requests: u32| {
        let shown = router.control("show table clients");
        shown.contains(&format!(
            "conn_cur=0 http_req_cnt={requests} http_req_rate(600000)={requests}"
        ))
    };
    until("the second knows", || entry(&second, 3));
    first.kill();
    net.wait_for_holder(2, VIP);
    until("the second refuses", || {
        net.get(VIP).contains("429 Too Many")
    });
    // The first one comes back with an empty table, which replaces nothing.
    let counted = || {
        let shown = second.control("show table clients");
        let count = shown.split("http_req_cnt=").nth(1)?.split(' ').next()?;
        count.parse::<u32>().ok()
    };
    let before = counted().expect("counted");
    let first = Router::start(&net, 1, &config(&key, 1));
    first.wait_for("public", "state", "active");
    assert!(
        entry(&first, before),
        "{}",
        first.control("show table clients")
    );
    assert_eq!(counted(), Some(before));
    assert!(net.get(VIP).contains("429 Too Many"));
}

#[test]
fn the_page_and_the_metrics_say_who_is_active_and_how_far_copies_are() {
    if !possible() {
        return;
    }
    let net = Net::new(2);
    let folder = Folder::new();
    let key = folder.file("key", b"0123456789abcdef0123456789abcdef");
    let first = Router::start(&net, 1, &config(&key, 1));
    let second = Router::start(&net, 2, &config(&key, 2));
    first.wait_for("public", "state", "active");
    in_sync(&first, "sending");
    in_sync(&second, "receiving");
    let get = |n: u8, path: &str| {
        let url = format!("http://203.0.113.{n}:8404{path}");
        net.exec(&net.client(), "curl", &["-s", "-m", "5", &url]).1
    };
    let wanted = [
        (
            1,
            "mulgil_vrrp_state{section=\"public\",state=\"active\"} 1",
        ),
        (
            2,
            "mulgil_vrrp_state{section=\"public\",state=\"backup\"} 1",
        ),
        (1, "mulgil_vrrp_priority{section=\"public\"} 249"),
        (1, "mulgil_vrrp_became_active_total{section=\"public\"} 1"),
        (
            1,
            "mulgil_sync_in_step{section=\"public\",peer=\"10.9.0.2:7112\",table=\"tables\",direction=\"sending\"} 1",
        ),
    ];
    for (n, line) in wanted {
        until(line, || get(n, "/metrics").lines().any(|l| l == line));
    }
    until("the page says so", || {
        let page = get(1, "/stats");
        page.contains("<td class=\"s up\">active</td>")
            && page.contains("tables 10.9.0.2:7112: to it in-sync")
    });
    let one = get(1, "/metrics?scope=server");
    assert!(!one.contains("mulgil_vrrp"), "{one}");
}
