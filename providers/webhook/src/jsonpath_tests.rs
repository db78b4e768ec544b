use super::*;

const DOC: &str = r#"{
    "data": {"login": {"password": "p", "n": 12345678901234567890, "f": 1.50, "none": null, "yes": true},
             "fields": [{"name": "a", "value": "1", "n": 1}, {"name": "b \"q\"", "value": "2", "n": 2}, {"value": "3"}],
             "dash-ed": "d", "with space": "s", "list": ["x", "y", "z"], "nested": [["in"]], "obj": {"z": 1.0, "a": "<"}},
    "é": "e"
}"#;

fn read(path: &str) -> Result<String, NoPlace> {
    let whole = json::value(DOC.as_bytes()).unwrap();
    value(&find(path, whole)?).map(|value| value.expose_str().unwrap().to_owned())
}

#[test]
fn a_path_leads_to_one_place() {
    for (path, expected) in [
        ("$.data.login.password", "p"),
        ("data.login.password", "p"),
        ("$['data'][\"login\"].password", "p"),
        ("$.data.login.n", "12345678901234567890"),
        ("$.data.login.f", "1.50"),
        ("$.data.login.none", ""),
        ("$.data.login.yes", "true"),
        ("$.data.dash-ed", "d"),
        ("$.data['with space']", "s"),
        ("$.data.\"with space\"", "s"),
        ("$.é", "e"),
        ("$.data.list[1]", "y"),
        ("$.data.list[-1]", "z"),
        ("$.data.list", "x"),
        ("$.data.nested", "in"),
        ("$.data.obj", r#"{"a":"\u003c","z":1.0}"#),
    ] {
        assert_eq!(read(path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn a_path_that_leads_to_several_places_gives_the_first() {
    for (path, expected) in [
        (r#"$.data.fields[?(@.name == "a")].value"#, "1"),
        (r#"$.data.fields[?@.name=="b \"q\""].value"#, "2"),
        ("$.data.fields[?(@.name == 'a' || @.n == 2)].value", "1"),
        ("$.data.fields[?(@.n > 1 && @.n <= 2)].value", "2"),
        ("$.data.fields[?(!@.name)].value", "3"),
        ("$.data.fields[?(@.n != 1)].value", "2"),
        ("$.data.fields[?(@.n == $.data.fields[1].n)].value", "2"),
        ("$.data.fields[*].value", "1"),
        ("$.data.fields[1:].value", "2"),
        ("$.data.fields[-1:].value", "3"),
        ("$.data.fields[::2].n", "1"),
        ("$.data.list[2,0]", "z"),
        ("$.data['dash-ed','with space']", "d"),
        ("$..password", "p"),
        ("$..fields[0].value", "1"),
        ("$.data.login.*", "1.50"),
    ] {
        assert_eq!(read(path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn where_nothing_is_it_is_said() {
    for path in [
        "$.none",
        "$.data.list[3]",
        "$.data.list[-4]",
        "$.data.login.password.deep",
        "$.data[0]",
        "$..nowhere",
        "$.data.fields[?(@.name == 'c')].value",
        "$.data.list[1:1]",
        "$.data.fields[?(@.name > 1)].value",
    ] {
        assert_eq!(read(path), Err(NoPlace::Nothing), "{path}");
    }
    for path in
        ["$.", "$[", "$[]", "$['a", "$.a b", "$.a]", "$[?]", "$[?(@.a ==)]", "$[?(@.a", "$[1:2:3:4]", "$.a[?(@.b ~ 1)]"]
    {
        assert_eq!(read(path), Err(NoPlace::NotAPath), "{path}");
    }
}

#[test]
fn what_takes_too_much_ends() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let whole = json::value(deep.as_bytes()).unwrap();
    assert!(matches!(find("$..x", whole), Err(NoPlace::TooMuch)));
    let long = format!("[{}0]", "0,".repeat(20_000));
    let whole = json::value(long.as_bytes()).unwrap();
    assert!(matches!(find("$[*]", whole), Err(NoPlace::TooMuch)));
    let few = format!("[{}0]", "0,".repeat(1_000));
    let inner = json::value(few.as_bytes()).unwrap();
    assert!(matches!(find("$[?($[?($[?(@==2)])])]", inner), Err(NoPlace::TooMuch)), "a thousand to the third");
    assert!(matches!(find("$[?($[?(@==0)])]", inner), Ok(Found::Several(all)) if all.len() == 1_001));
    let nested = format!("$[?{}@{}]", "(".repeat(500), ")".repeat(500));
    assert!(matches!(find(&nested, whole), Err(NoPlace::TooMuch)));
    let inner = format!("$[?(@{}", "[?(@".repeat(200));
    assert!(matches!(find(&inner, whole), Err(NoPlace::TooMuch)));
}
