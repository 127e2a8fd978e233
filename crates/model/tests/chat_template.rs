//! Chat templates against Python's Jinja, and hostile templates.
//!
//! `data/chat_templates` has a model's template and two of our own, ten conversations, and a hundred snippets that each
//! exercise a corner of the language; `make_expected.py` recorded Python's output. The comparison is byte for byte, and
//! where Python fails, so must we.

use model::{ChatTemplate, ModelError, RenderOptions};
use serde_json::{Map, Value, json};

/// The clock that `make_expected.py` uses: 2025-07-01 09:30 UTC.
const UNIX_TIME: i64 = 1_751_362_200;

const TEMPLATES: [(&str, &str); 3] = [
    ("smollm2.jinja", include_str!("data/chat_templates/smollm2.jinja")),
    ("llama3_style.jinja", include_str!("data/chat_templates/llama3_style.jinja")),
    ("qwen_style.jinja", include_str!("data/chat_templates/qwen_style.jinja")),
];

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("the recorded files are JSON")
}

fn render(template: &str, options: &RenderOptions) -> Result<String, ModelError> {
    ChatTemplate::new(template, "<s>", "</s>")?.render(options)
}

/// Renders a template that needs no conversation.
fn render_alone(template: &str) -> Result<String, String> {
    render(template, &RenderOptions::new(&[])).map_err(|e| e.to_string())
}

/// Compares with a recorded `{"text": ...}` or `{"error": message or null}`.
fn assert_recorded(result: Result<String, ModelError>, recorded: &Value, what: &str) {
    match (result, recorded.get("text")) {
        (Ok(text), Some(expected)) => assert_eq!(text, expected.as_str().expect("a text is a string"), "{what}"),
        (Ok(text), None) => panic!("{what}: Python fails, and we render {text:?}"),
        (Err(error), Some(expected)) => panic!("{what}: {error}, and Python renders {expected}"),
        (Err(error), None) => {
            let message = recorded["error"].as_str().unwrap_or_default();
            assert!(error.to_string().contains(message), "{what}: {error}, and the template says {message}");
        }
    }
}

#[test]
fn conversations_render_as_python_renders_them() {
    let cases = parse(include_str!("data/chat_templates/messages.json"));
    let expected = parse(include_str!("data/chat_templates/expected.json"));
    let cases = cases.as_array().expect("a list of cases");
    assert_eq!(cases.len(), 10);
    for (name, template) in TEMPLATES {
        for case in cases {
            let messages = case["messages"].as_array().expect("messages are a list");
            let mut options = RenderOptions::new(messages);
            options.tools = case.get("tools").and_then(Value::as_array).map(Vec::as_slice);
            options.add_generation_prompt = case["add_generation_prompt"].as_bool().expect("a boolean");
            options.variables = case.get("variables").and_then(Value::as_object).cloned().unwrap_or_default();
            options.unix_time = Some(UNIX_TIME);
            let case = case["name"].as_str().expect("a name");
            assert_recorded(render(template, &options), &expected[name][case], &format!("{name}, {case}"));
        }
    }
}

#[test]
fn every_corner_of_the_language_is_pythons() {
    let recorded = parse(include_str!("data/chat_templates/snippets.json"));
    let mut variables = recorded["variables"].as_object().expect("variables").clone();
    let messages = variables.remove("messages").expect("messages");
    let mut options = RenderOptions::new(messages.as_array().expect("a list"));
    options.variables = variables;
    options.unix_time = Some(UNIX_TIME);
    let snippets = recorded["snippets"].as_array().expect("a list");
    assert!(snippets.len() > 100);
    for snippet in snippets {
        let template = snippet["template"].as_str().expect("a template");
        assert_recorded(render(template, &options), snippet, template);
    }
}

#[test]
fn errors_say_what_and_where() {
    let error = |template| render_alone(template).expect_err("it fails");
    assert_eq!(error("a\n{{ raise_exception('Roles must alternate.') }}"), "chat template: Roles must alternate.");
    assert_eq!(
        error("a\n{{ none | length }}"),
        "chat template: cannot calculate length of value of type none (line 2)"
    );
    assert!(error("a\nb\n{% if %}").ends_with("(line 3)"));
    assert!(error("{{ x").contains("line 1"));
}

#[test]
fn variables_override_the_standard_ones() {
    let mut options = RenderOptions::new(&[]);
    options.variables = Map::from_iter([("bos_token".to_owned(), json!("!")), ("more".to_owned(), json!([1.0]))]);
    assert_eq!(render("{{ bos_token }}{{ eos_token }}{{ more }}", &options).expect("it renders"), "!</s>[1.0]");
}

#[test]
fn without_a_given_time_the_date_is_todays() {
    let year = render_alone("{{ strftime_now('%Y') }}").expect("it renders");
    assert!(year.parse::<u32>().expect("a number") >= 2025, "{year}");
}

/// Long conversations stay within the budget: a template may go over every message several times.
#[test]
fn long_conversations_render() {
    let message = |i: usize| json!({"role": if i.is_multiple_of(2) { "user" } else { "assistant" }, "content": "ok"});
    let many: Vec<Value> = (0..2000).map(message).collect();
    let long = [json!({"role": "user", "content": "word ".repeat(200_000)})];
    for (name, template) in TEMPLATES {
        for (messages, expected) in [(&many[..], 20_000), (&long, 1_000_000)] {
            let text = render(template, &RenderOptions::new(messages)).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(text.len() > expected, "{name}");
        }
    }
}

/// Templates that would run or grow without end: each fails, having used a bounded amount of memory.
#[test]
fn hostile_templates_fail() {
    let doubling = |value: &str| format!("{{% set x = {value} %}}{}", "{% set x = DOUBLE %}".repeat(60));
    assert_fail(&[
        "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}".to_owned(),
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}".to_owned(),
        "{{ range(10 ** 9) | list }}".to_owned(),
        "{{ 'x' * 10 ** 9 }}".to_owned(),
        "{{ ('x' * 10 ** 6) | replace('x', 'y' * 10 ** 6) }}".to_owned(),
        "{{ ('x\n' * 10 ** 5) | indent(200) | indent(200) | indent(200) | indent(200) }}".to_owned(),
        doubling("'xx'").replace("DOUBLE", "x ~ x") + "{{ x }}",
        doubling("[1]").replace("DOUBLE", "x + x") + "{{ x }}",
        doubling("[1]").replace("DOUBLE", "[x, x]") + "{{ x }}",
        doubling("[1]").replace("DOUBLE", "{'a': x, 'b': x}") + "{{ x == x }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_owned(),
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}".to_owned(),
        "{% block a %}{{ self.a() }}{% endblock %}".to_owned(),
        "{% for a in [[1]] recursive %}{{ loop([a]) }}{% endfor %}".to_owned(),
        "x".repeat(1 << 20),
    ]);
}

/// Text that nests deeper than the stack of the render thread, in each way that the language has.
#[test]
fn deeply_nested_templates_fail() {
    let nested = |before: &str, inner: &str, after: &str| before.repeat(20_000) + inner + &after.repeat(20_000);
    let inside = |before, inner, after| format!("{{{{ {} }}}}", nested(before, inner, after));
    assert_fail(&[
        inside("(", "1", ")"),
        inside("[", "1", "]"),
        inside("{1:", "1", "}"),
        inside("a[", "1", "]"),
        inside("f(", "1", ")"),
        inside("-", "1", ""),
        inside("not ", "1", ""),
        inside("", "a", ".b"),
        inside("", "a", "[0]"),
        inside("", "a", "()"),
        inside("", "a", "|e"),
        inside("", "a", " is a"),
        inside("", "a", "+a"),
        inside("", "a", " and a"),
        inside("", "a", " if a"),
        inside("", "a", " if a else a"),
        format!("{{% for {} in [] %}}{{% endfor %}}", nested("(", "a", ")")),
        nested("{%if a%}", "", ""),
        nested("{%for a in b%}", "", "{%endfor%}"),
        nested("{%macro f()%}", "", ""),
        nested("{%with%}", "", ""),
        "{% if a %}".to_owned() + &"{%elif a%}".repeat(10_000) + "{% endif %}",
        ("{% if a %}".to_owned() + &"{% elif a %}".repeat(100)).repeat(20),
    ]);
    // In small pieces, each tag within its limit.
    for (before, after) in [("{%if 1%}", "{%endif%}"), ("{%for a in [1]%}", "{%endfor%}"), ("{%with%}", "{%endwith%}")]
    {
        assert_fail(&[before.repeat(1000) + &after.repeat(1000)]);
    }
}

/// Values that would nest deeper than the stack of the render thread, or hold themselves.
#[test]
fn deeply_nested_values_fail() {
    let grown = |start: &str, next: &str| {
        format!(
            "{{% set n = namespace(x={start}) %}}{{% for i in range(99999) %}}{{% set n.x = {next} %}}{{% endfor %}}"
        )
    };
    assert_fail(&[
        grown("[]", "[n.x]"),
        grown("[]", "{'a': n.x}"),
        grown("[1]", "n.x[:]"),
        grown("[1]", "[n.x[:]]"),
        grown("[1]", "n.x * 1"),
        grown("[1]", "n.x | reverse"),
        grown("{}", "n.x | chain({})"),
        grown("1", "namespace(x=n.x)"),
        "{% set n = namespace() %}{% set n.x = n %}{{ n }}".to_owned(),
        "{% set n = namespace() %}{% set n.x = [n] %}{{ n }}".to_owned(),
        "{% set n = namespace() %}{% for i in [1] %}{% set n.x = loop %}{% endfor %}".to_owned(),
        format!(
            "{{% for a in [[1]] recursive %}}{{{{ loop([{}a{}]) }}}}{{% endfor %}}",
            "[".repeat(70),
            "]".repeat(70)
        ),
    ]);
}

fn assert_fail(templates: &[String]) {
    for template in templates {
        let start = template.chars().take(100).collect::<String>();
        assert!(render_alone(template).is_err(), "{start}");
    }
}

/// These are unusual, but not hostile.
#[test]
fn long_chains_compile() {
    let elif = format!("{{% if false %}}{}{{% else %}}end{{% endif %}}", "{% elif false %}x".repeat(999));
    assert_eq!(render_alone(&elif).as_deref(), Ok("end"));
    let sum = format!("{{{{ 0{} }}}}", "+1".repeat(400));
    assert_eq!(render_alone(&sum).as_deref(), Ok("400"));
    let ifs = "{% if true %}".repeat(100) + "x" + &"{% endif %}".repeat(100);
    assert_eq!(render_alone(&ifs).as_deref(), Ok("x"));
    let elifs = "{% if false %}{% elif true %}{% endif %}".repeat(2000);
    assert_eq!(render_alone(&elifs).as_deref(), Ok(""));
    // Each call is two lists deeper and its argument 400 iterators long.
    let calls = format!(
        "{{% macro f(x, n) %}}{{% if n %}}{{{{ f([[x{}]], n - 1) }}}}{{% endif %}}{{% endmacro %}}{{{{ f([1], 30) }}}}",
        "*1".repeat(400)
    );
    assert_eq!(render_alone(&calls).as_deref(), Ok(""));
}
