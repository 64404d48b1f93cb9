//! `.if`, `.notice` and the like (manual section 2.4 of 2.6).

use super::{Here, Loader};
use crate::condition;
use crate::diag::{Fault, Severity};
use crate::draft::Place;

/// One level of `.if`.
pub(super) struct Block {
    /// Whether lines count now.
    pub active: bool,
    /// Whether an arm has been taken.
    taken: bool,
    /// Whether the block around counts.
    outer: bool,
    after_else: bool,
    pub place: Place,
}

const DIRECTIVES: [&str; 8] = [
    ".if", ".elif", ".else", ".endif", ".diag", ".notice", ".warning", ".alert",
];

impl Loader<'_> {
    /// A line that starts with a dot.
    pub(super) fn directive(&mut self, here: Here<'_>, blocks: &mut Vec<Block>) {
        let name = here.words.first().map_or("", |w| w.text.as_str());
        let active = blocks.last().is_none_or(|b| b.active);
        let rest: Vec<&str> = here.words.iter().skip(1).map(|w| w.text.as_str()).collect();
        let rest = rest.join(" ");
        let holds = |loader: &mut Self| {
            condition::evaluate(&rest, &loader.env).unwrap_or_else(|(_, message)| {
                loader.word_fault(here, Fault::at(1, message));
                false
            })
        };
        match name {
            ".if" => {
                let value = active && holds(self);
                blocks.push(Block {
                    active: value,
                    taken: value,
                    outer: active,
                    after_else: false,
                    place: here.place(0),
                });
            }
            ".elif" | ".else" => {
                let wanted = match blocks.last() {
                    None => Err(format!("'{name}' without '.if' before it")),
                    Some(b) if b.after_else => Err(format!("'{name}' after '.else'")),
                    Some(b) => Ok(b.outer && !b.taken),
                };
                match wanted {
                    Err(message) => self.word_fault(here, Fault::at(0, message)),
                    Ok(open) => {
                        let value = open && (name == ".else" || holds(self));
                        if let Some(block) = blocks.last_mut() {
                            block.active = value;
                            block.taken |= value;
                            block.after_else = name == ".else";
                        }
                    }
                }
            }
            ".endif" => {
                if blocks.pop().is_none() {
                    let fault = Fault::at(0, "'.endif' without '.if' before it");
                    self.word_fault(here, fault);
                }
            }
            _ if !active => {}
            ".diag" => self.at(&here.place(0), Severity::Diag, rest),
            ".notice" => self.at(&here.place(0), Severity::Notice, rest),
            ".warning" => self.at(&here.place(0), Severity::Warning, rest),
            ".alert" => self.at(&here.place(0), Severity::Error, rest),
            _ => {
                let message = crate::keyword::near("directive", name, &DIRECTIVES);
                self.word_fault(here, Fault::at(0, message));
            }
        }
    }
}
