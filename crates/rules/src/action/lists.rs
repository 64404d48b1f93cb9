//! Actions that change lists of patterns.

use super::RuleSet::{self, HttpAfterResponse, HttpRequest, HttpResponse};
use super::words::Words;
use super::{Action, ActionDef};
use crate::Ctx;
use crate::error::ParseError;
use crate::lists::{Change, PatternList};
use crate::logformat::LogFormat;
use std::sync::Arc;

const SETS: [RuleSet; 3] = [HttpRequest, HttpResponse, HttpAfterResponse];

/// What a rule changes in a list.
#[derive(Clone, Debug)]
pub(crate) struct ListChange {
    list: Arc<PatternList>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Add(LogFormat),
    Set(LogFormat, LogFormat),
    Remove(LogFormat),
}

pub(super) static ACTIONS: &[ActionDef] = &[
    ActionDef {
        name: "add-acl",
        sets: &SETS,
        args: "(FILE) FMT",
        doc: "add a pattern to the list of a file, unless it is there",
        parse: |w, _| change(w, false, |w| Ok(Kind::Add(w.format("a pattern")?))),
    },
    ActionDef {
        name: "del-acl",
        sets: &SETS,
        args: "(FILE) FMT",
        doc: "remove a pattern from the list of a file",
        parse: |w, _| change(w, false, |w| Ok(Kind::Remove(w.format("a pattern")?))),
    },
    ActionDef {
        name: "del-map",
        sets: &SETS,
        args: "(FILE) FMT",
        doc: "remove a key from the map of a file",
        parse: |w, _| change(w, true, |w| Ok(Kind::Remove(w.format("a key")?))),
    },
    ActionDef {
        name: "set-map",
        sets: &SETS,
        args: "(FILE) FMT FMT",
        doc: "give a key of the map of a file a value",
        parse: |w, _| {
            change(w, true, |w| {
                Ok(Kind::Set(w.format("a key")?, w.format("a value")?))
            })
        },
    },
];

fn change(
    w: &mut Words<'_>,
    map: bool,
    kind: impl FnOnce(&mut Words<'_>) -> Result<Kind, ParseError>,
) -> Result<Action, ParseError> {
    let inner = w.name.split_once('(');
    let file = inner.and_then(|(_, rest)| rest.strip_suffix(')'));
    let Some(file) = file.filter(|f| !f.is_empty()) else {
        let message = format!(
            "'{}' wants the name of a file in parentheses, such as (hosts.txt)",
            w.name
        );
        return Err(ParseError::at(0, message));
    };
    let list = w.scope.list(file, map, false);
    let list = list.map_err(|e| ParseError::at(0, format!("cannot read '{file}': {e}")))?;
    Ok(Action::ChangeList(Box::new(ListChange {
        list,
        kind: kind(w)?,
    })))
}

impl ListChange {
    pub(super) fn apply(&self, cx: &Ctx<'_>) {
        let text = |format: &LogFormat| {
            let mut out = Vec::new();
            format.render_plain(cx, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        match &self.kind {
            Kind::Add(pattern) => self.list.put_pattern(&text(pattern)),
            Kind::Set(key, value) => self.list.put(&text(key), &text(value)),
            Kind::Remove(key) => {
                self.list.remove(Change::Key(&text(key)));
            }
        }
    }
}
