//! What stands in for a result where a function failed is noted, and what it renders stays Go's.

use std::sync::Arc;

use keyferry_template::{Env, Functions, Options, Template};

#[test]
fn a_function_whose_complaint_becomes_its_result_is_noted_once() {
    let options = Options::new(Arc::new(Functions::standard()));
    for (text, rendered, complained) in [
        (
            "{{ b64dec .x }}{{ b64dec .x }}",
            "illegal base64 data at input byte 0illegal base64 data at input byte 0",
            "b64dec",
        ),
        ("{{ b32dec .x }}", "illegal base32 data at input byte 0", "b32dec"),
        ("{{ hexdec .x }}", "encoding/hex: invalid byte: U+0021 '!'", "hexdec"),
        ("{{ genPrivateKey \"none\" }}", "Unknown type none", "genPrivateKey"),
        ("{{ htpasswd \"a:b\" .x }}", "invalid username: a:b", "htpasswd"),
        ("{{ b64dec \"YQ==\" }}{{ hexdec \"62\" }}", "ab", ""),
    ] {
        let template = Template::parse("t", text, &options).unwrap();
        let mut env = Env::default();
        let out = template.render_strings([("x", "!")], &mut env).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), rendered, "{text}");
        assert_eq!(env.complained.join(" "), complained, "{text}");
    }
}
