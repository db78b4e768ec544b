use super::*;
use crate::outcome::{Headline, Retry};
use crate::told;
use crate::told::Spec;

fn told(said: &str, values: &[SecretBytes]) -> String {
    let failure = Failure::new(Headline::Fetch, Told::without_values(said.to_owned()), Retry::Soon);
    blank(failure, values).causes[0].to_string()
}

#[test]
fn a_value_is_blanked_wherever_it_is_told_and_however_quoted() {
    let value = r#"{"plain":"correct-horse","odd":"a\"b\\c","deep":[{"x":"battery-staple"}],"pin":123,"n":-12.50e3,
        "text":"{\"inner\":\"[\\\"\\u0073taple-\\ud83d\\ude00\\\"]\"}"}"#;
    let said = format!(
        "no property {:?} in {:?}, nor {:?}, which is a\"b\\c; {:?} stays; {:?} {:?}",
        "correct-horse", "a\"b\\c", "battery-staple", "123", "staple-\u{1f600}", "-12.50e3"
    );
    let redacted = r#""[redacted]""#;
    let expected = format!(
        "no property {redacted} in {redacted}, nor {redacted}, which is [redacted]; \"123\" stays; {redacted} {redacted}"
    );
    assert_eq!(told(&said, &[SecretBytes::from(value)]), expected);
}

#[test]
fn names_of_which_a_value_is_a_part_stay_readable() {
    for (said, expected) in [
        ("no x_admin_username", "no x_admin_username"),
        (
            "no .admin_name, db-admin, admin.x or \"administrator\"",
            "no .admin_name, db-admin, admin.x or \"administrator\"",
        ),
        ("it is admin.", "it is [redacted]."),
        (
            "admin: \"admin\", (admin), -admin- x/admin",
            "[redacted]: \"[redacted]\", ([redacted]), -[redacted]- x/[redacted]",
        ),
        ("adminadmin, admin admin", "adminadmin, [redacted] [redacted]"),
    ] {
        assert_eq!(told(said, &["admin".into()]), expected);
    }
    // What is no word itself is blanked wherever it stands.
    assert_eq!(told("x<a b>y", &["<a b>".into()]), "x[redacted]y");
}

#[test]
fn where_there_is_too_much_to_look_through_nothing_quoted_is_told() {
    let large = format!("[{}\"secret\"]", "0,".repeat(MOST_BYTES / 2));
    let said = r#"spec.data[0] (secretKey "se\"cret"): line 1, at <.x | f "a">: no "b": more than 3 (limit x)"#;
    let expected =
        r#"spec.data[0] (secretKey "[redacted]"): line 1, at <[redacted]>: no "[redacted]": more than 3 (limit x)"#;
    assert_eq!(told(said, &[large.as_str().into()]), expected);
    // A long value that is not taken apart is not looked through at all.
    assert_eq!(told("a \"b\"", &["x".repeat(MOST_BYTES + 1).as_str().into()]), "a \"b\"");
}

#[test]
fn many_causes_and_many_parts_cost_little() {
    let parts: Vec<String> = (0..200_000).map(|n| format!("\"part-{n}\"")).collect();
    let value = SecretBytes::from(format!("[{}]", parts.join(",")).as_str());
    let mut failure = Failure::new(Headline::Fetch, "x", Retry::Soon);
    failure.causes = (0..20_000).map(|n: usize| told!("{} of {}", Spec(&format!("part-{n}")), n)).collect();
    let blanked = blank(failure, &[value]);
    assert_eq!(blanked.causes.len(), 20_000);
    assert_eq!(blanked.causes[19_999].as_str(), "\"[redacted]\" of 19999");
    let mut failure = Failure::new(Headline::Fetch, "x", Retry::Soon);
    failure.causes = (0..20).map(|n| Told::without_values(format!("{n}{:?}", "x".repeat(MOST_TEXT / 10)))).collect();
    let blanked = blank(failure, &["value".into()]);
    assert!(blanked.causes[9].as_str().starts_with("9\"xx"));
    assert_eq!(blanked.causes[10].as_str(), "left out");
}
