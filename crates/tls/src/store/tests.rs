use super::*;
use crate::settings::{AcceptorSettings, ListEntry, Source, Verify};

const SITE: &[u8] = include_bytes!("../../tests/site.pem");
const OTHER: &[u8] = include_bytes!("../../tests/answered.pem");

fn read(path: &str) -> Result<Vec<u8>, String> {
    match path {
        "site.pem" => Ok(SITE.to_vec()),
        "ca.pem" => Ok(OTHER.to_vec()),
        _ => Err("no such file".into()),
    }
}

fn line(path: &str, number: usize) -> ListLine {
    ListLine {
        number,
        entry: ListEntry {
            path: path.into(),
            ..ListEntry::default()
        },
    }
}

fn listed(store: &Store) -> Arc<Acceptor> {
    store.put_list("list", vec![line("site.pem", 1)]);
    let settings = AcceptorSettings {
        certificates: vec![Source::List("list".into())],
        ..AcceptorSettings::default()
    };
    Acceptor::new(settings, "file:1", store, &read)
        .expect("good settings")
        .0
}

#[test]
fn what_somebody_uses_is_neither_deleted_nor_lost_by_a_bad_commit() {
    let store = Store::default();
    let _acceptor = listed(&store);
    assert_eq!(store.uses(Kind::Certificate, "site.pem"), 1);
    let deleted = store.delete(Kind::Certificate, "site.pem");
    assert_eq!(deleted, Err(KindFault::InUse));
    // A certificate without its key.
    store
        .set_certificate("site.pem", OTHER)
        .expect("a certificate");
    assert!(matches!(
        store.commit(Kind::Certificate, "site.pem"),
        Err(KindFault::Unusable(_))
    ));
    assert!(store.pending("site.pem").is_some(), "it can be completed");
    let site = store.find("site.pem").expect("there");
    assert_ne!(
        site.parts.certificate(),
        store.pending("site.pem").expect("there").certificate()
    );
    assert_eq!(store.abort(Kind::Certificate, "site.pem"), Ok(()));
    assert_eq!(
        store.abort(Kind::Certificate, "site.pem"),
        Err(KindFault::NothingBegun)
    );
}

#[test]
fn a_list_takes_only_what_is_in_memory_and_never_gives_its_default_away() {
    let store = Store::default();
    let acceptor = listed(&store);
    let add = |path: &str| store.add_to_list("list", line(path, 0).entry);
    assert_eq!(add("new.pem"), Err(AddFault::NoCertificate));
    store
        .create(Kind::Certificate, "new.pem")
        .expect("a new name");
    assert_eq!(
        store.create(Kind::Certificate, "new.pem"),
        Err(KindFault::Exists)
    );
    assert_eq!(add("new.pem"), Err(AddFault::Empty));
    store
        .set_certificate("new.pem", SITE)
        .expect("a certificate");
    assert_eq!(store.commit(Kind::Certificate, "new.pem"), Ok(0));
    assert_eq!(add("new.pem"), Ok(()));
    assert_eq!(add("new.pem"), Ok(()));
    let entry = ListEntry {
        ca_file: Some("ca.pem".into()),
        ..line("new.pem", 0).entry
    };
    let missing = AddFault::NoFile("ca-file", "ca.pem".into());
    assert_eq!(store.add_to_list("list", entry), Err(missing));
    let del = |path: &str, number| store.delete_from_list("list", path, number);
    assert_eq!(del("new.pem", None), Err(DelFault::Several(vec![2, 3])));
    assert_eq!(
        del("new.pem", Some(9)),
        Err(DelFault::WrongLine(vec![2, 3]))
    );
    assert_eq!(
        del("site.pem", None),
        Err(DelFault::Default(vec!["file:1".into()]))
    );
    assert_eq!(del("new.pem", Some(2)), Ok(()));
    assert_eq!(del("new.pem", None), Ok(()));
    assert_eq!(del("new.pem", None), Err(DelFault::NotThere));
    assert_eq!(store.delete(Kind::Certificate, "new.pem"), Ok(()));
    drop(acceptor);
    assert_eq!(
        del("site.pem", None),
        Ok(()),
        "nobody uses the list any longer"
    );
}

#[test]
fn authorities_are_added_to_or_replaced() {
    let store = Store::default();
    store.authorities("ca.pem", &read).expect("a file");
    assert_eq!(store.set_authorities("ca.pem", SITE, true), Ok(false));
    assert_eq!(store.set_authorities("ca.pem", SITE, true), Ok(true));
    assert_eq!(store.commit(Kind::Authorities, "ca.pem"), Ok(0));
    let count = || store.find_authorities("ca.pem").expect("there").exact.len();
    assert_eq!(count(), 4);
    assert_eq!(store.set_authorities("ca.pem", SITE, false), Ok(false));
    assert_eq!(store.commit(Kind::Authorities, "ca.pem"), Ok(0));
    assert_eq!(count(), 1);
    assert_eq!(
        store.set_authorities("nobody", SITE, false),
        Err(KindFault::NotThere)
    );
}

#[test]
fn connectors_are_shared_while_somebody_has_them_and_no_longer() {
    let store = Store::default();
    let made = |host: u32| {
        let settings = ConnectorSettings {
            verify: Verify::None,
            verify_host: Some(format!("{host}.example").into()),
            ..ConnectorSettings::default()
        };
        let made = Connector::new(settings, &store, &read);
        made.expect("good settings").0
    };
    let kept = made(0);
    for host in 1..100 {
        let gone = Arc::downgrade(&made(host));
        assert!(gone.upgrade().is_none(), "nobody has it");
    }
    let known = store.like(kept.settings()).expect("it is in use");
    assert!(Arc::ptr_eq(&known, &kept));
    assert!(store.lock().kinds.len() < 50, "the others are forgotten");
}
