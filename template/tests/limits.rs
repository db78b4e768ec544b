//! Templates are user input: whatever they ask for, the answer is an output or an error that says which limit, and it
//! comes soon, on a small stack.

use std::{thread, time::Instant};

use keyferry_template::{
    Context, Env, ErrorKind, Failure, Function, Functions, Limit, Limits, Options, Template, Value, f, sig,
};

fn list(_: &mut Context<'_, '_>, args: &[Value]) -> Result<Value, Failure> {
    Ok(Value::list(args.to_vec()))
}

const FUNCTIONS: &[Function] = &[f("tuple", sig!(..any => list), list)];

fn options() -> Options {
    Options::new(Functions::builtin().with(FUNCTIONS).into())
}

fn render(text: &str, limits: Limits) -> Result<Vec<u8>, keyferry_template::Error> {
    let mut env = Env { limits, ..Env::default() };
    let template = Template::parse("t", text, &options())?;
    template.render_strings([("k", "v")], &mut env).map(|output| output.to_vec())
}

fn hits(text: &str, limit: Limit) {
    let start = Instant::now();
    let limits = Limits {
        steps: 200_000,
        output_bytes: 200_000,
        value_bytes: 200_000,
        memory_bytes: 2_000_000,
        ..Limits::default()
    };
    let error = render(text, limits).expect_err(text);
    assert_eq!((error.kind(), error.hit()), (ErrorKind::Limit, Some(limit)), "{error}");
    assert!(error.to_string().contains(&limit.to_string()), "{error}");
    assert!(start.elapsed().as_secs() < 20, "{limit} takes too long to hit");
}

/// Runs on a stack as small as that of an async worker.
fn on_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap()
}

#[test]
fn each_limit_says_which() {
    hits("{{ range 9000000000000000000 }}{{ end }}", Limit::Steps);
    hits(r#"{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}"#, Limit::TemplateDepth);
    hits(
        "{{ range 100000 }}0123456789012345678901234567890123456789012345678901234567890{{ end }}",
        Limit::OutputBytes,
    );
    hits(r#"{{ printf "%100000d%100000d%100000d" 1 1 1 }}"#, Limit::ValueBytes);
    hits(r#"{{ range 1000 }}{{ $x := printf "%100000d" 1 }}{{ end }}"#, Limit::MemoryBytes);
    hits(&format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)), Limit::Nesting);
    hits(&" ".repeat(2 << 20), Limit::TemplateBytes);
}

#[test]
fn a_value_that_holds_itself_many_times_over_prints_up_to_a_limit() {
    hits("{{ $x := tuple 1 2 }}{{ range 100 }}{{ $x = tuple $x $x }}{{ end }}{{ $x }}", Limit::OutputBytes);
    hits("{{ $x := tuple 1 2 }}{{ range 100 }}{{ $x = tuple $x $x }}{{ end }}{{ len (print $x) }}", Limit::ValueBytes);
}

#[test]
fn depth_costs_no_stack() {
    let texts = [
        format!("{}x{}", "{{ if true }}".repeat(20_000), "{{ end }}".repeat(20_000)),
        format!("{{{{ if false }}}}{}{{{{ end }}}}", "{{ else if false }}a".repeat(20_000)),
        format!("{}x{}", "{{ range 1 }}".repeat(20_000), "{{ end }}".repeat(20_000)),
        format!("{}x{}", "{{ block \"a\" . }}".repeat(10_000), "{{ end }}".repeat(10_000)),
        "{{ $x := tuple 1 }}{{ range 50000 }}{{ $x = tuple $x }}{{ end }}{{ len (print $x) }}".to_owned(),
        r#"{{ define "a" }}{{ with . }}{{ template "a" (slice . 1) }}{{ end }}{{ end }}{{ template "a" (printf "%9999d" 1) }}"#
            .to_owned(),
        format!("{{{{ {} }}}}", vec!["print"; 10_000].join(" | ")),
        format!("{{{{ .k{} }}}}", ".x".repeat(50_000)),
    ];
    for text in texts {
        on_small_stack(move || {
            // An output or an error; what matters is that there is an answer.
            let _ = render(&text, Limits::default());
        });
    }
}

#[test]
fn parentheses_up_to_the_limit_fit_a_small_stack() {
    let nesting = options().nesting;
    for (open, close) in [("(", ")"), ("(print ", ")"), ("(tuple 1 (and true ", "))"), ("(1 | print ", ").x")] {
        let depth = nesting / open.matches('(').count();
        let text = format!("{{{{ {}1{} }}}}", open.repeat(depth), close.repeat(depth));
        let output = on_small_stack(move || render(&text, Limits::default()));
        match close {
            ").x" => assert!(output.is_err()),
            _ => assert!(output.is_ok(), "{output:?}"),
        }
    }
}

#[test]
fn many_variables_do_not_make_it_slow() {
    let start = Instant::now();
    let text = format!("{{{{ $x := 1 }}}}{}{}", "{{ $a := 1 }}".repeat(4_000), "{{ $x }}".repeat(4_000));
    let _ = render(&text, Limits::default());
    assert!(start.elapsed().as_secs() < 20);
}

#[test]
fn limits_can_be_lowered() {
    let error = render("{{ .k }}{{ .k }}", Limits { output_bytes: 1, ..Limits::default() }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "template: t:1:11: executing \"t\" at <.k>: limit exceeded: output bytes (at most 1)"
    );
    assert_eq!(render("{{ .k }}", Limits { output_bytes: 1, ..Limits::default() }).unwrap(), b"v");
}
