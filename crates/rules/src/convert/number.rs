//! Whole numbers.

use super::{ConvertDef, convert, int};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, NONE, args};
use crate::{Ctx, Sample};

/// A number, or a variable that holds one.
const OPERAND: ArgSpec = args(&[IntOrVar], 1);

pub static TABLE: &[ConvertDef] = &[
    convert! { "add", OPERAND, Int => Int, "plus; stops at the largest number",
        "int(9223372036854775807),add(1)" => "9223372036854775807",
        |a, s, cx| int(s.to_int()?.saturating_add(operand(a, cx)?))
    },
    convert! { "and", OPERAND, Int => Int, "bits in both",
        "int(6),and(3)" => "2", |a, s, cx| int(s.to_int()? & operand(a, cx)?)
    },
    convert! { "bool", NONE, Int => Bool, "whether it is not 0",
        "int(-3),bool" => "1", |_, s, _| Some(Sample::Bool(s.to_int()? != 0))
    },
    convert! { "cpl", NONE, Int => Int, "all bits turned",
        "int(5),cpl" => "-6", |_, s, _| int(!s.to_int()?)
    },
    convert! { "div", OPERAND, Int => Int, "divided by; by 0 is the largest number",
        "int(-7),div(2)" => "-3", |a, s, cx| int(s.to_int()?.checked_div(operand(a, cx)?).unwrap_or(i64::MAX))
    },
    convert! { "even", NONE, Int => Bool, "whether it is even",
        "int(4),even" => "1", |_, s, _| Some(Sample::Bool(s.to_int()? & 1 == 0))
    },
    convert! { "mod", OPERAND, Int => Int, "the rest of a division; by 0 is 0",
        "int(-7),mod(3)" => "-1", |a, s, cx| int(s.to_int()?.checked_rem(operand(a, cx)?).unwrap_or(0))
    },
    convert! { "mul", OPERAND, Int => Int, "times; stops at the largest number of the sign",
        "int(4611686018427387904),mul(-3)" => "-9223372036854775808",
        |a, s, cx| int(s.to_int()?.saturating_mul(operand(a, cx)?))
    },
    convert! { "neg", NONE, Int => Int, "the negative",
        "int(5),neg" => "-5", |_, s, _| int(s.to_int()?.saturating_neg())
    },
    convert! { "not", NONE, Int => Bool, "whether it is 0",
        "int(0),not" => "1", |_, s, _| Some(Sample::Bool(s.to_int()? == 0))
    },
    convert! { "odd", NONE, Int => Bool, "whether it is odd",
        "int(-3),odd" => "1", |_, s, _| Some(Sample::Bool(s.to_int()? & 1 == 1))
    },
    convert! { "or", OPERAND, Int => Int, "bits in either",
        "int(6),or(3)" => "7", |a, s, cx| int(s.to_int()? | operand(a, cx)?)
    },
    convert! { "sub", OPERAND, Int => Int, "minus; stops at the smallest number",
        "int(5),sub(7)" => "-2", |a, s, cx| int(s.to_int()?.saturating_sub(operand(a, cx)?))
    },
    convert! { "xor", OPERAND, Int => Int, "bits in one of them",
        "int(6),xor(3)" => "5", |a, s, cx| int(s.to_int()? ^ operand(a, cx)?)
    },
];

/// The number of an argument, or of the variable it names.
fn operand(args: &[Arg], cx: &Ctx<'_>) -> Option<i64> {
    match args.int(0) {
        Some(n) => Some(n),
        None => cx.var(args.var(0)?)?.to_int(),
    }
}
