//! Arithmetic.

use num_bigint::BigInt;

use super::{
    args::function,
    cast::{Parsed, parse_clipped, parse_plain, to_float, to_int},
    text::sprint,
};
use crate::{
    env::Context,
    error::Failure,
    function::Function,
    strconv::float,
    value::{Str, Value},
};

/// Arithmetic and conversions to numbers.
pub(super) const FUNCTIONS: &[Function] = &[
    function!("atoi", (string => int), |_: &mut _, text: &Str| Ok(Value::int(parse_clipped(text, 10)))),
    function!("int", (any => int), |_: &mut _, value: &Value| Ok(Value::int(to_int(value)))),
    function!("int64", (any => int64), |_: &mut _, value: &Value| Ok(Value::int64(to_int(value)))),
    function!("float64", (any => float64), |_: &mut _, value: &Value| Ok(to_float(value))),
    function!("toDecimal", (any => int64), to_decimal),
    function!("add1", (any => int64), |_: &mut _, value: &Value| Ok(Value::int64(to_int(value).wrapping_add(1)))),
    function!("add", (..any => int64), |_: &mut _, values: &[Value]| {
        Ok(Value::int64(values.iter().map(to_int).fold(0, i64::wrapping_add)))
    }),
    function!("sub", (any, any => int64), |_: &mut _, left: &Value, right: &Value| {
        Ok(Value::int64(to_int(left).wrapping_sub(to_int(right))))
    }),
    function!("div", (any, any => int64), |_: &mut _, left: &Value, right: &Value| {
        divide(left, right, i64::wrapping_div)
    }),
    function!("mod", (any, any => int64), |_: &mut _, left: &Value, right: &Value| {
        divide(left, right, i64::wrapping_rem)
    }),
    function!("mul", (any, ..any => int64), |_: &mut _, first: &Value, others: &[Value]| {
        Ok(Value::int64(others.iter().map(to_int).fold(to_int(first), i64::wrapping_mul)))
    }),
    function!("max", (any, ..any => int64), |_: &mut _, first: &Value, others: &[Value]| {
        Ok(Value::int64(others.iter().map(to_int).fold(to_int(first), i64::max)))
    }),
    function!("biggest", (any, ..any => int64), |_: &mut _, first: &Value, others: &[Value]| {
        Ok(Value::int64(others.iter().map(to_int).fold(to_int(first), i64::max)))
    }),
    function!("min", (any, ..any => int64), |_: &mut _, first: &Value, others: &[Value]| {
        Ok(Value::int64(others.iter().map(to_int).fold(to_int(first), i64::min)))
    }),
    function!("maxf", (any, ..any => float64), |_: &mut _, first: &Value, others: &[Value]| {
        Ok(others.iter().map(to_float).fold(to_float(first), |left, right| match (left, right) {
            _ if left == f64::INFINITY || right == f64::INFINITY => f64::INFINITY,
            _ if left.is_nan() || right.is_nan() => f64::NAN,
            _ if left == 0.0 && right == 0.0 && left.is_sign_negative() => right,
            _ if left > right || (left == right && left == 0.0) => left,
            _ => right,
        }))
    }),
    function!("minf", (any, ..any => float64), |_: &mut _, first: &Value, others: &[Value]| {
        Ok(others.iter().map(to_float).fold(to_float(first), |left, right| match (left, right) {
            _ if left == f64::NEG_INFINITY || right == f64::NEG_INFINITY => f64::NEG_INFINITY,
            _ if left.is_nan() || right.is_nan() => f64::NAN,
            _ if left == 0.0 && right == 0.0 && left.is_sign_negative() => left,
            _ if left < right => left,
            _ => right,
        }))
    }),
    function!("add1f", (any => float64), |_: &mut _, value: &Value| {
        decimal(value, &[Value::int(1)], |left, right| Ok(left.add(&right)))
    }),
    function!("addf", (..any => float64), |_: &mut _, values: &[Value]| {
        decimal(&Value::Float(0.0), values, |left, right| Ok(left.add(&right)))
    }),
    function!("subf", (any, ..any => float64), |_: &mut _, first: &Value, others: &[Value]| {
        decimal(first, others, |left, right| Ok(left.add(&right.negative())))
    }),
    function!("mulf", (any, ..any => float64), |context: &mut Context<'_, '_>, first: &Value, others: &[Value]| {
        context.spend((others.len() as u64).saturating_pow(2) / 64)?;
        decimal(first, others, |left, right| Ok(left.multiply(&right)))
    }),
    function!("divf", (any, ..any => float64), |_: &mut _, first: &Value, others: &[Value]| {
        decimal(first, others, |left, right| left.divide(&right))
    }),
    function!("ceil", (any => float64), |_: &mut _, value: &Value| Ok(to_float(value).ceil())),
    function!("floor", (any => float64), |_: &mut _, value: &Value| Ok(to_float(value).floor())),
    function!("round", (any, int, ..float64 => float64), round),
    function!("until", (int => ints), |context: &mut _, count: i64| {
        Ok(steps(context, 0, count, if count < 0 { -1 } else { 1 })?.list())
    }),
    function!("untilStep", (int, int, int => ints), |context: &mut _, from, to, step| {
        Ok(steps(context, from, to, step)?.list())
    }),
    function!("seq", (..int => string), seq),
];

fn to_decimal(context: &mut Context<'_, '_>, value: &Value) -> Result<Value, Failure> {
    Ok(Value::int64(match parse_plain(&sprint(context, value)?, 8) {
        Parsed::Number(number) => number,
        Parsed::TooLarge { .. } | Parsed::Nothing => 0,
    }))
}

fn divide(left: &Value, right: &Value, operation: fn(i64, i64) -> i64) -> Result<Value, Failure> {
    match to_int(right) {
        0 => Err(Failure::new("runtime error: integer divide by zero")),
        right => Ok(Value::int64(operation(to_int(left), right))),
    }
}

/// A decimal fraction of any length: `digits * 10^exponent`. Floats are added and multiplied as what they print as.
struct Decimal {
    digits: BigInt,
    exponent: i64,
}

/// Digits after the point in a quotient.
const QUOTIENT_DIGITS: i64 = 16;

impl Decimal {
    fn from_float(number: f64) -> Result<Self, Failure> {
        if !number.is_finite() {
            return Err(Failure::new("Cannot create a Decimal from an infinite number or NaN"));
        }
        let mut text = Vec::new();
        float::format(&mut text, number, b'e', None);
        let text = String::from_utf8_lossy(&text);
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let places = mantissa.split_once('.').map_or(0, |(_, places)| places.len());
        let digits = mantissa.replace('.', "");
        let broken = |_| Failure::new("internal error: float without digits");
        Ok(Self {
            digits: BigInt::parse_bytes(digits.as_bytes(), 10).unwrap_or_default(),
            exponent: exponent.trim_start_matches('+').parse::<i64>().map_err(broken)? - places as i64,
        })
    }

    /// The digits of the same number for a lower exponent.
    fn scaled(&self, exponent: i64) -> BigInt {
        &self.digits * power_of_ten(self.exponent - exponent)
    }

    fn add(&self, other: &Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        Self { digits: self.scaled(exponent) + other.scaled(exponent), exponent }
    }

    fn negative(&self) -> Self {
        Self { digits: -&self.digits, exponent: self.exponent }
    }

    fn multiply(&self, other: &Self) -> Self {
        Self { digits: &self.digits * &other.digits, exponent: self.exponent + other.exponent }
    }

    fn divide(&self, other: &Self) -> Result<Self, Failure> {
        let zero = BigInt::ZERO;
        if other.digits == zero {
            return Err(Failure::new("decimal division by 0"));
        }
        let shift = self.exponent - other.exponent + QUOTIENT_DIGITS;
        let (dividend, divisor) = match shift {
            shift if shift < 0 => (self.digits.clone(), &other.digits * power_of_ten(-shift)),
            shift => (&self.digits * power_of_ten(shift), other.digits.clone()),
        };
        let (mut quotient, remainder): (BigInt, BigInt) = (&dividend / &divisor, &dividend % &divisor);
        // Halves are rounded away from zero.
        let doubled: BigInt = remainder * 2;
        let round_up = doubled.magnitude() >= divisor.magnitude();
        match (round_up, (self.digits < zero) != (other.digits < zero)) {
            (false, _) => {}
            (true, false) => quotient += 1,
            (true, true) => quotient -= 1,
        }
        Ok(Self { digits: quotient, exponent: -QUOTIENT_DIGITS })
    }

    fn to_float(&self) -> f64 {
        format!("{}e{}", self.digits, self.exponent).parse().unwrap_or(0.0)
    }
}

fn power_of_ten(exponent: i64) -> BigInt {
    BigInt::from(10).pow(u32::try_from(exponent).unwrap_or(0))
}

fn decimal(
    first: &Value,
    others: &[Value],
    operation: fn(Decimal, Decimal) -> Result<Decimal, Failure>,
) -> Result<f64, Failure> {
    let mut result = Decimal::from_float(to_float(first))?;
    for other in others {
        result = operation(result, Decimal::from_float(to_float(other))?)?;
    }
    Ok(result.to_float())
}

fn round(_: &mut Context<'_, '_>, value: &Value, places: i64, limit: &[Value]) -> Result<f64, Failure> {
    let limit = limit.first().map_or(0.5, to_float);
    let power = power_of_ten_float(places);
    let shifted = power * to_float(value);
    let rounded = if shifted - shifted.trunc() >= limit { shifted.ceil() } else { shifted.floor() };
    Ok(rounded / power)
}

/// Go's `math.Pow(10, n)`: repeated squaring of an exact fraction, which is not the nearest float for large powers.
fn power_of_ten_float(places: i64) -> f64 {
    match places {
        0 => return 1.0,
        309.. => return f64::INFINITY,
        ..-323 => return 0.0,
        _ => {}
    }
    let mut left = places.unsigned_abs();
    let (mut result, mut exponent) = (1.0f64, 0i32);
    let (mut factor, mut factor_exponent) = split(10.0);
    while left != 0 {
        if left & 1 == 1 {
            result *= factor;
            exponent += factor_exponent;
        }
        factor *= factor;
        factor_exponent *= 2;
        if factor < 0.5 {
            factor += factor;
            factor_exponent -= 1;
        }
        left >>= 1;
    }
    if places < 0 {
        result = 1.0 / result;
        exponent = -exponent;
    }
    join(result, exponent)
}

/// A fraction in `0.5..1` and a power of two, for numbers that are neither zero nor denormal.
fn split(number: f64) -> (f64, i32) {
    let exponent = ((number.to_bits() >> 52) & 0x7ff) as i32 - 1022;
    (f64::from_bits((number.to_bits() & !(0x7ff << 52)) | (1022 << 52)), exponent)
}

/// `fraction * 2^exponent`.
fn join(fraction: f64, exponent: i32) -> f64 {
    match exponent {
        exponent if exponent < -1000 => fraction * 2f64.powi(exponent + 100) * 2f64.powi(-100),
        exponent if exponent > 1000 => fraction * 2f64.powi(exponent - 100) * 2f64.powi(100),
        exponent => fraction * 2f64.powi(exponent),
    }
}

/// Numbers from `first`, each `step` from the one before.
struct Steps {
    first: i64,
    step: i64,
    count: usize,
}

impl Steps {
    fn numbers(&self) -> impl Iterator<Item = i64> {
        let (first, step) = (self.first, self.step);
        (0..self.count as i64).map(move |place| first.wrapping_add(place.wrapping_mul(step)))
    }

    fn list(&self) -> Value {
        let numbers = self.numbers().map(Value::int).collect();
        Value::List(super::growth::appended(&crate::value::Type::INT, numbers, 0))
    }
}

/// The numbers from one to the other, the latter left out; none if the step leads away from it.
fn steps(context: &mut Context<'_, '_>, from: i64, to: i64, step: i64) -> Result<Steps, Failure> {
    let distance = i128::from(to) - i128::from(from);
    let count = match step {
        0 => 0,
        step if (step > 0) == (distance > 0) && distance != 0 => {
            distance.unsigned_abs().div_ceil(u128::from(step.unsigned_abs()))
        }
        _ => 0,
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    context.fits_list(count)?;
    context.spend(count as u64)?;
    Ok(Steps { first: from, step, count })
}

fn seq(context: &mut Context<'_, '_>, bounds: &[Value]) -> Result<String, Failure> {
    let bounds: Vec<i64> = bounds.iter().map(to_int).collect();
    let (from, step, to) = match bounds.as_slice() {
        [to] => (1, None, *to),
        [from, to] => (*from, None, *to),
        [from, step, to] => (*from, Some(*step), *to),
        _ => return Ok(String::new()),
    };
    let direction = if to < from { -1 } else { 1 };
    let step = match step {
        Some(step) if direction < 0 && step > 0 => return Ok(String::new()),
        Some(step) => step,
        None => direction,
    };
    let numbers = steps(context, from, to.wrapping_add(direction), step)?;
    let texts: Vec<String> = numbers.numbers().map(|number| number.to_string()).collect();
    Ok(texts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(number: f64) -> f64 {
        Decimal::from_float(number).map_or(f64::NAN, |number| number.to_float())
    }

    #[test]
    fn decimals_read_back_as_the_same_float() {
        for number in [0.1, 1e21, 5e-324, f64::MAX, -1.5, 123_456_789.125] {
            assert_eq!(exact(number), number);
        }
    }
}
