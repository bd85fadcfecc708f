//! Tests of quantities.

use proptest::prelude::*;

use super::*;

fn bytes(text: &str) -> Result<u64, InvalidQuantity> {
    text.parse::<Quantity>().map(Quantity::bytes)
}

#[test]
fn every_unit_is_understood() {
    let expected = [
        ("0", 0),
        ("65536", 65_536),
        ("+7", 7),
        ("500Mi", 500 << 20),
        ("64Ki", 64 << 10),
        ("2Gi", 2 << 30),
        ("1Ti", 1 << 40),
        ("1Pi", 1 << 50),
        ("15Ei", 15 << 60),
        ("1k", 1_000),
        ("4M", 4_000_000),
        ("4G", 4_000_000_000),
        ("3T", 3_000_000_000_000),
        ("1P", 1_000_000_000_000_000),
        ("18E", 18_000_000_000_000_000_000),
        ("18446744073709551615", u64::MAX),
    ];
    for (text, value) in expected {
        assert_eq!(bytes(text), Ok(value), "{text}");
    }
}

#[test]
fn decimals_are_exact_and_a_fraction_of_a_byte_is_rounded_up() {
    assert_eq!(bytes("1.5Gi"), Ok(3 << 29));
    assert_eq!(bytes("0.5"), Ok(1));
    assert_eq!(bytes(".5Ki"), Ok(512));
    assert_eq!(bytes("5.Ki"), Ok(5 << 10));
    assert_eq!(bytes("0.1Ki"), Ok(103), "102.4 rounded up");
    assert_eq!(bytes("0.000000000000000000000001"), Ok(1));
    assert_eq!(bytes("1.000000000000000000000000"), Ok(1));
    assert_eq!(bytes("0.1E"), Ok(100_000_000_000_000_000));
}

#[test]
fn what_is_not_a_size_is_refused_with_the_reason() {
    assert_eq!(bytes(""), Err(InvalidQuantity::Empty));
    assert_eq!(bytes("-1Mi"), Err(InvalidQuantity::Negative));
    for text in ["Mi", ".", "1.2.3", "x", " 5Mi", "."] {
        assert_eq!(bytes(text), Err(InvalidQuantity::Number(text.to_owned())), "{text}");
    }
    for (text, unit) in [("500MB", "MB"), ("5mi", "mi"), ("5 Mi", " Mi"), ("1K", "K"), ("1e6", "e6"), ("5m", "m")] {
        assert_eq!(bytes(text), Err(InvalidQuantity::Unit(unit.to_owned())), "{text}");
    }
    for text in ["18446744073709551616", "16Ei", "99999999999999999999999999999999999999999999", "19E"] {
        assert_eq!(bytes(text), Err(InvalidQuantity::TooLarge), "{text}");
    }
}

#[test]
fn people_see_the_unit_that_fits() {
    let shown = |bytes| Quantity(bytes).to_string();
    assert_eq!(shown(0), "0");
    assert_eq!(shown(1023), "1023");
    assert_eq!(shown(500 << 20), "500Mi");
    assert_eq!(shown((3 << 29) + 1), "1.50Gi");
    assert_eq!(shown(u64::MAX), "15.99Ei");
}

fn thousandths(text: &str) -> Option<u64> {
    text.parse().ok().map(MilliCpu::thousandths)
}

#[test]
fn cpu_is_read_in_thousandths_rounded_up() {
    for (text, milli) in [("100m", 100), ("0.5", 500), ("2", 2000), ("0.0001", 1), ("0", 0), ("0m", 0)] {
        assert_eq!(thousandths(text), Some(milli), "{text}");
    }
}

#[test]
fn what_is_not_an_amount_of_cpu_is_refused() {
    for text in ["", "m", "-1", "1k", "1 m", "1Mi", "1e3", "99999999999999999999", "٣"] {
        assert_eq!(thousandths(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parsers_panic(text in ".*") {
        let _ = text.parse::<Quantity>();
        let _ = text.parse::<MilliCpu>();
    }

    #[test]
    fn any_number_of_bytes_is_read_as_itself(bytes: u64) {
        prop_assert_eq!(bytes.to_string().parse(), Ok(Quantity(bytes)));
    }
}
