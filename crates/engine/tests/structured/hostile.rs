//! Grammars that are made to hurt end in an error or are followed, soon, on a small stack and in little memory.
//!
//! No time is asserted here, but what is unbounded would not end. The texts are followed for some tokens, since much of
//! the work is done only then; an error there is as good as one before.

use std::thread;

use engine::{Grammar, SamplingOptions};
use serde_json::{Map, Value, json};
use testkit::real_model;

use crate::support::Judge;

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!({ "type": "string" }), |inner, _| json!({ "properties": { "a": inner }, "required": ["a"] }))
}

fn named(n: usize, value: impl Fn(usize) -> Value) -> Map<String, Value> {
    (0..n).map(|i| (format!("p{i}"), value(i))).collect()
}

fn schemas() -> Vec<Value> {
    let chain = |i: usize| json!({ "$ref": format!("#/$defs/p{}", i + 1) });
    let either = |i: usize| json!({ "anyOf": (0..3).map(|j| json!({ "properties": named(1, |_| json!({ "const": [i, j] })) })).collect::<Vec<_>>() });
    vec![
        nested(60),
        nested(400),
        json!({ "type": "object", "properties": named(2900, |_| json!({ "type": "integer" })), "enum": vec![Value::Null; 2900] }),
        json!({ "type": "object", "properties": named(2900, |_| json!({ "type": "integer" })) }),
        json!({ "enum": (0..15_000).map(|i| format!("value {}", i * 7919 % 15_013)).collect::<Vec<_>>() }),
        json!({ "enum": vec!["x"; 100_000] }),
        json!({ "enum": ["x".repeat(5 << 20)] }),
        json!({ "oneOf": (0..1400).map(|i| json!({ "properties": { "k": { "const": i } } })).collect::<Vec<_>>() }),
        json!({ "allOf": (0..14).map(either).collect::<Vec<_>>() }),
        json!({ "$ref": "#/$defs/p0", "$defs": named(2000, chain) }),
        json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
        json!({ "anyOf": [{ "$ref": "#" }, { "$ref": "#" }] }),
        json!({ "allOf": [{ "$ref": "#" }], "properties": { "a": { "$ref": "#" } } }),
        json!({ "type": "object", "properties": { "next": { "$ref": "#" } }, "required": ["next"] }),
        json!({ "type": "object", "patternProperties": (0..150).map(|i| (format!("^x{i}(a|b)*c{{1,{i}1}}$"), json!({}))).collect::<Map<_, _>>() }),
        json!({ "type": "array", "minItems": 4_000_000_000u64 }),
        json!({ "type": "array", "maxItems": u64::MAX }),
        json!({ "type": "string", "minLength": 4_000_000, "maxLength": 4_000_000_000u64 }),
        json!({ "type": "string", "maxLength": u64::MAX }),
        json!({ "type": "string", "pattern": "^((((a{100}){100}){100}){100})$" }),
        json!({ "type": "string", "pattern": "^(a|aa|aaa|a*)*b$" }),
        json!({ "type": "string", "pattern": "^.*x.{300}$" }),
        json!({ "type": "integer", "allOf": [{ "multipleOf": 4_294_967_291u64 }, { "multipleOf": 4_294_967_279u64 }] }),
        json!({ "type": "number", "multipleOf": 1e-300 }),
        json!({ "type": "number", "minimum": -1e308, "maximum": 1e-308 }),
        json!({ "minLength": "é".repeat(60) }),
        json!({ "x-guidance": { "whitespace_pattern": "(((a{1000}){1000}){1000}){1000}" } }),
    ]
}

fn texts() -> Vec<Grammar> {
    let regexes = [
        "(((((a{1000}){1000}){1000}){1000}){1000})".to_owned(),
        format!("{}a{}", "(".repeat(100_000), ")*".repeat(100_000)),
        format!("{}a{}", "(".repeat(200), ")*".repeat(200)),
        "(a|b)*a(a|b){18}".to_owned(),
        "abc(d|e)?".repeat(25_000),
        r"(\w{1,200}\s){1,500}".to_owned(),
        r"\p{L}+(\p{N}|\p{Greek}){1,300}".to_owned(),
    ];
    let larks = [
        format!("start: {}\"a\"{}", "(".repeat(50_000), ")".repeat(50_000)),
        format!("start: {}\"a\"{}", "%lark { start: ".repeat(100), "}".repeat(100)),
        format!("start: r0\n{}r5000: \"x\"", (0..5000).map(|i| format!("r{i}: r{}\n", i + 1)).collect::<String>()),
        "start: (((\"a\"{1000}){1000}){1000}){1000}".to_owned(),
        "start: start start | \"a\" | ".to_owned(),
        "start: a{1000000}\na: \"x\" | b{100000}\nb: \"y\" a?".to_owned(),
        format!("start: X\nX: {}", "~/a/ & ".repeat(300) + "/b/"),
    ];
    let doubled = |n: usize| (1..n).map(|i| format!("r{i} ::= r{0} r{0}\n", i - 1)).collect::<String>();
    let gbnfs = [
        format!("root ::= {}", "(".repeat(100_000)),
        format!("{}root ::= r1999", (0..1999).map(|i| format!("r{} ::= r{i} | \"x{i}\"\n", i + 1)).collect::<String>()),
        format!("root ::= r39\nr0 ::= \"ab\" | \"a\"\n{}", doubled(40)),
        "root ::= root root root | [a-z]* root [a-z]* | \"\"".to_owned(),
        "root ::= ((([a-z]{1000}){1000}){1000}){1000}".to_owned(),
        format!("root ::= ({}) root?", (0..1500).map(|i| format!("\"k{}\"", i * 7919)).collect::<Vec<_>>().join(" | ")),
        "root ::= ([ab]* \"a\" [ab]{40})* root?".to_owned(),
        "root ::= \"a\"{4294967295} root?".to_owned(),
        "x".repeat(1 << 20),
    ];
    let regexes = regexes.into_iter().map(Grammar::Regex);
    regexes.chain(larks.into_iter().map(Grammar::Lark)).chain(gbnfs.into_iter().map(Grammar::Gbnf)).collect()
}

/// Follows a grammar for some tokens, if it compiles.
fn follow(judge: &Judge, grammar: &Grammar) -> Result<(), engine::EngineError> {
    let mut constraint = judge.compiler.compile(grammar)?;
    let options = SamplingOptions { temperature: 1.0, seed: Some(1), ..SamplingOptions::default() };
    let mut sampler = engine::Sampler::new(&options);
    let logits = vec![0.0; judge.tokenizer.vocab_len()];
    for _ in 0..30 {
        if constraint.is_complete() {
            break;
        }
        let token = sampler.sample_allowed(&logits, &[], &mut constraint)?;
        if judge.tokenizer.is_end_of_generation(token) {
            break;
        }
        constraint.accept(token)?;
    }
    Ok(())
}

fn follow_all(grammars: Vec<Grammar>) {
    let judge = Judge::of_file(real_model!().as_ref());
    let small = thread::Builder::new().stack_size(1 << 20);
    let run = move || {
        for grammar in &grammars {
            if let Err(error) = follow(&judge, grammar) {
                let text = error.to_string();
                assert!(text.starts_with("the grammar cannot be used: ") && !text.contains('\n'), "{text}");
                assert!(text.len() < 2000, "{} bytes", text.len());
            }
        }
    };
    small.spawn(run).expect("a thread starts").join().expect("nothing panics");
}

#[test]
fn hostile_schemas() {
    follow_all(schemas().into_iter().map(Grammar::JsonSchema).collect());
}

#[test]
fn hostile_texts() {
    follow_all(texts());
}
