//! Variables in `http-check` and `tcp-check`.

use super::{Kind, push};
use crate::diag::Fault;
use crate::draft::Draft;
use crate::line::Line;
use model::{CheckAction, CheckVar, VarValue};
use rules::{VarCondition, VarName};

/// The name and the conditions in the parentheses of the keyword.
fn name(l: &Line<'_>) -> Result<(VarName, Vec<VarCondition>), Fault> {
    let keyword = l.keyword();
    let inside = keyword
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    let Some(inside) = inside else {
        return Err(Fault::at(
            1,
            format!("'{keyword}' names no variable: write set-var(check.name)"),
        ));
    };
    let mut parts = inside.split(',').map(str::trim);
    let name = VarName::parse(parts.next().unwrap_or_default());
    let name = name.map_err(|message| Fault::at(1, message))?;
    let conditions = parts.map(|text| {
        VarCondition::by_name(text)
            .ok_or_else(|| Fault::at(1, super::near("condition", text, VarCondition::NAMES)))
    });
    Ok((name, conditions.collect::<Result<_, _>>()?))
}

pub(super) fn set(d: &mut Draft, l: &mut Line<'_>, kind: Kind, format: bool) -> Result<(), Fault> {
    let (name, conditions) = name(l)?;
    l.exactly(1, if format { "a format" } else { "an expression" })?;
    let value = match format {
        true => VarValue::Format(l.format(0)?),
        false => VarValue::Expr(l.expression(0)?),
    };
    let var = CheckVar {
        name,
        conditions,
        value,
    };
    push(d, kind, CheckAction::SetVar(Box::new(var)), None);
    Ok(())
}

pub(super) fn unset(d: &mut Draft, l: &mut Line<'_>, kind: Kind) -> Result<(), Fault> {
    let (name, conditions) = name(l)?;
    if !conditions.is_empty() {
        return Err(Fault::at(1, "'unset-var' takes a name and no conditions"));
    }
    l.exactly(0, "nothing after the name")?;
    push(d, kind, CheckAction::UnsetVar(name), None);
    Ok(())
}
