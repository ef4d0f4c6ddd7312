//! Kubernetes quantities: their schema, their value and their canonical form.
//!
//! Rules of the form: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::core::{Rule, validate};
use schemars::{Schema, SchemaGenerator, json_schema};

/// The text is not a quantity above zero.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no amount above zero: write one such as 512Mi, 2Gi, 100m or 2")]
pub struct InvalidQuantity(pub String);

/// An integer or a string, above zero, with a message that shows how one is written.
pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    let mut schema = json_schema!({ "x-kubernetes-int-or-string": true });
    let rule = Rule::new("isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('0'))")
        .message("no amount above zero: write one such as 512Mi, 2Gi, 100m or 2");
    // A rule without a key that JSON could not hold: this cannot fail.
    let _ = validate(&mut schema, rule);
    schema
}

/// Thousandths of the unit: the finest that Kubernetes keeps.
fn thousandths(quantity: &Quantity) -> Result<u128, InvalidQuantity> {
    let invalid = || InvalidQuantity(quantity.0.clone());
    let text = quantity.0.strip_prefix('+').unwrap_or(&quantity.0);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err(invalid());
    }
    let (mut multiplier, mut divisor) = (1_u128, 1_u128);
    match suffix {
        "n" => divisor = 1_000_000_000,
        "u" => divisor = 1_000_000,
        "m" => divisor = 1000,
        "" => {}
        "k" => multiplier = 1000,
        "M" => multiplier = 1000_u128.pow(2),
        "G" => multiplier = 1000_u128.pow(3),
        "T" => multiplier = 1000_u128.pow(4),
        "P" => multiplier = 1000_u128.pow(5),
        "E" => multiplier = 1000_u128.pow(6),
        "Ki" => multiplier = 1024,
        "Mi" => multiplier = 1024_u128.pow(2),
        "Gi" => multiplier = 1024_u128.pow(3),
        "Ti" => multiplier = 1024_u128.pow(4),
        "Pi" => multiplier = 1024_u128.pow(5),
        "Ei" => multiplier = 1024_u128.pow(6),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or_else(invalid)?;
            let exponent: i32 = exponent.parse().map_err(|_| invalid())?;
            let power = 10_u128.checked_pow(exponent.unsigned_abs()).ok_or_else(invalid)?;
            if exponent < 0 { divisor = power } else { multiplier = power }
        }
    }
    for _ in 0..fraction.len() {
        divisor = divisor.checked_mul(10).ok_or_else(invalid)?;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| invalid())?;
    let scaled = digits.checked_mul(multiplier).and_then(|n| n.checked_mul(1000)).ok_or_else(invalid)?;
    match scaled.div_ceil(divisor) {
        0 => Err(invalid()),
        amount => Ok(amount),
    }
}

/// The amount in whole units, rounded up: bytes for memory and storage.
pub fn bytes(quantity: &Quantity) -> Result<u64, InvalidQuantity> {
    let amount = thousandths(quantity)?.div_ceil(1000);
    u64::try_from(amount).map_err(|_| InvalidQuantity(quantity.0.clone()))
}

/// The same amount as Kubernetes gives it back, for quantities of CPU, memory and storage.
pub fn canonical(quantity: &Quantity) -> Result<Quantity, InvalidQuantity> {
    let amount = thousandths(quantity)?;
    if !amount.is_multiple_of(1000) {
        return Ok(Quantity(format!("{amount}m")));
    }
    let units = amount / 1000;
    let (base, suffixes) = if quantity.0.ends_with('i') {
        (1024, ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
    } else {
        (1000, ["", "k", "M", "G", "T", "P", "E"])
    };
    let (mut units, mut step) = (units, 0);
    while units.is_multiple_of(base) && step + 1 < suffixes.len() {
        units /= base;
        step += 1;
    }
    Ok(Quantity(format!("{units}{}", suffixes[step])))
}

/// Whether two texts are quantities of the same amount.
pub fn is_same_amount(left: &str, right: &str) -> bool {
    let of = |text: &str| thousandths(&Quantity(text.to_owned()));
    matches!((of(left), of(right)), (Ok(left), Ok(right)) if left == right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        Quantity(text.into())
    }

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("1Gi", 1 << 30),
            ("0.5Gi", 1 << 29),
            ("1e3", 1000),
            ("128974848", 128_974_848),
            ("100m", 1),
            ("1.5k", 1500),
        ] {
            assert_eq!(bytes(&quantity(text)), Ok(expected), "{text}");
        }
        for text in ["", "1Gx", "-1", "0", "1.2.3", "Gi", ".", "1 Gi", "1e99", "0m"] {
            assert!(bytes(&quantity(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn canonical_forms_are_those_the_apiserver_gives_back() {
        for (text, expected) in [
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.1", "100m"),
            ("1000m", "1"),
            ("2000", "2k"),
            ("100m", "100m"),
            ("256Mi", "256Mi"),
        ] {
            assert_eq!(canonical(&quantity(text)), Ok(quantity(expected)), "{text}");
        }
    }

    #[test]
    fn one_amount_has_many_spellings() {
        assert!(is_same_amount("1", "1000m"));
        assert!(is_same_amount("1Gi", "1073741824"));
        assert!(!is_same_amount("1Gi", "1G"));
        assert!(!is_same_amount("x", "x"));
    }
}
