//! Which JSON a schema lets through, and how regular expressions and Lark do.

use engine::Grammar;
use serde_json::{Value, json};

use crate::support::Judge;

fn schema(schema: Value) -> Grammar {
    Grammar::JsonSchema(schema)
}

fn check(json: Value, right: &[&str], wrong: &[&str]) {
    for judge in Judge::all() {
        judge.check(&schema(json.clone()), right, wrong);
    }
}

#[test]
fn properties_come_in_the_order_of_the_schema_and_no_others() {
    let person = json!({
        "type": "object",
        "properties": { "name": { "type": "string" }, "age": { "type": "integer", "minimum": 0 }, "note": { "type": "string" } },
        "required": ["name", "age"],
    });
    let right = [r#"{"name": "Ada", "age": 36}"#, r#"{"name":"A \"B\" é 🦀","age":0,"note":""}"#];
    let wrong = [
        r#"{"age": 36, "name": "Ada"}"#,
        r#"{"name": "Ada"}"#,
        r#"{"name": "Ada", "age": -1}"#,
        r#"{"name": "Ada", "age": 1.5}"#,
        r#"{"name": "Ada", "age": 36, "other": 1}"#,
        r#" {"name": "Ada", "age": 36}"#,
        r#"{"name": "Ada", "age": 36} "#,
    ];
    check(person, &right, &wrong);
}

#[test]
fn other_properties_come_where_the_schema_says_so() {
    let open = json!({ "properties": { "a": { "type": "null" } }, "required": ["a"], "type": "object", "additionalProperties": { "type": "integer" } });
    check(open, &[r#"{"a": null}"#, r#"{"a": null, "b": 1}"#], &[r#"{"a": null, "b": "x"}"#]);
    let map = json!({ "type": "object", "patternProperties": { "^x[0-9]$": { "type": "boolean" } }, "additionalProperties": false });
    check(map, &["{}", r#"{"x1": true}"#], &[r#"{"y": true}"#]);
}

#[test]
fn parts_that_are_combined_may_name_properties_of_the_same_object() {
    let all = json!({ "allOf": [
        { "type": "object", "properties": { "a": { "type": "integer" } }, "required": ["a"] },
        { "type": "object", "properties": { "b": { "type": "integer" } }, "required": ["b"] },
    ] });
    check(all, &[r#"{"a": 1, "b": 2}"#], &[r#"{"a": 1}"#]);
}

#[test]
fn white_space_has_an_end() {
    let pair = json!({ "type": "array", "items": { "type": "integer" } });
    let right = ["[1,2]", "[1, 2]", "[\n  1,\n  2\n]", "[1,\n\n\t2]"];
    check(pair, &right, &["[1,  2]", "[1,\n\n\n2]", "[1, \n2]", &format!("[\n{}1]", " ".repeat(21))]);
}

#[test]
fn one_of_is_read_as_any_of() {
    let shapes = json!({
        "oneOf": [{ "$ref": "#/$defs/circle" }, { "$ref": "#/$defs/square" }],
        "$defs": {
            "circle": { "type": "object", "properties": { "kind": { "const": "circle" }, "r": { "type": "number" } }, "required": ["kind", "r"] },
            "square": { "type": "object", "properties": { "kind": { "const": "square" }, "a": { "type": "number" } }, "required": ["kind", "a"] },
        },
    });
    check(
        shapes,
        &[r#"{"kind": "circle", "r": 1}"#, r#"{"kind": "square", "a": 2.5}"#],
        &[r#"{"kind": "circle", "a": 1}"#],
    );
}

#[test]
fn a_format_without_a_known_meaning_means_nothing() {
    check(json!({ "type": "string", "format": "password" }), &["\"x\""], &["1"]);
    check(json!({ "type": "string", "format": "date" }), &["\"2024-02-29\""], &["\"2024-02-30\""]);
    // A property may be called so.
    let named =
        json!({ "type": "object", "properties": { "format": { "const": { "format": "x" } } }, "required": ["format"] });
    check(named, &[r#"{"format": {"format": "x"}}"#], &[r#"{"format": {}}"#]);
}

#[test]
fn what_is_not_supported_is_refused_unless_the_schema_says_otherwise() {
    let judge = Judge::tiny();
    let unique = json!({ "type": "array", "items": { "enum": [1, 2] }, "uniqueItems": true });
    assert!(judge.problem(&schema(unique.clone())).contains("uniqueItems"));
    let mut lenient = unique;
    lenient["x-guidance"] = json!({ "lenient": true });
    judge.check(&schema(lenient), &["[1, 1]"], &["[3]"]);
}

#[test]
fn any_json_object_is_an_object() {
    for judge in Judge::all() {
        judge.check(&Grammar::Json, &["{}", r#"{"a": [1, {"b": null}], "c": "d"}"#], &["[]", "1", "{", "{\"a\"}"]);
    }
    check(json!(true), &["1", "[{}]"], &["x"]);
}

#[test]
fn numbers_keep_their_bounds() {
    // What code generators write for "any integer".
    let any = json!({ "type": "integer", "minimum": -9_007_199_254_740_991_i64, "maximum": 9_007_199_254_740_991_i64 });
    check(any, &["0", "-9007199254740991", "12"], &["9007199254740992", "1.0", "01"]);
    check(json!({ "type": "integer", "multipleOf": 7, "exclusiveMaximum": 21 }), &["14", "-7", "0"], &["21", "8"]);
    check(json!({ "type": "number", "minimum": 0.5, "maximum": 1 }), &["0.5", "0.75", "1"], &["0.4", "1.1"]);
}

#[test]
fn a_schema_that_is_wrong_says_why() {
    let judge = Judge::tiny();
    for (json, part) in [
        (json!("x"), "object or boolean"),
        (json!({ "type": "strin" }), "strin"),
        (json!({ "$ref": "https://example.com/schema" }), "only references within it"),
        (json!({ "properties": { "a": { "$ref": "other.json#/b" } } }), "only references within it"),
        (json!({ "$ref": "#/$defs/none" }), "not found"),
        (json!({ "type": "string", "pattern": "(?=a)" }), "look-around"),
        (json!({ "type": "integer", "minimum": 2, "maximum": 1 }), "Unsatisfiable"),
        (json!({ "$ref": "#" }), "no text satisfies it"),
        (json!({ "x-guidance": { "no_such_option": 1 } }), "no_such_option"),
        (json!(false), "Unsatisfiable"),
    ] {
        let problem = judge.problem(&schema(json.clone()));
        assert!(problem.contains(part) && !problem.contains('\n'), "{json}: {problem}");
    }
}

#[test]
fn regular_expressions_match_all_of_a_text() {
    for judge in Judge::all() {
        let date = Grammar::Regex(r"[0-9]{4}-(0[1-9]|1[0-2])/\w+".to_owned());
        judge.check(&date, &["2024-12/é", "0000-01/abc"], &["2024-13/a", "2024-12/", "x2024-12/a", "2024-12/a "]);
        judge.check(&Grammar::Regex("yes|no".to_owned()), &["yes", "no"], &["", "yesno", "maybe"]);
    }
    assert!(Judge::tiny().problem(&Grammar::Regex("(".to_owned())).contains("unclosed group"));
}

#[test]
fn lark_has_rules_and_schemas() {
    let lark = "start: \"<\" WORD \">\" %json { \"type\": \"boolean\" }\nWORD: /[a-z]+/".to_owned();
    for judge in Judge::all() {
        judge.check(&Grammar::Lark(lark.clone()), &["<ab>true"], &["<>true", "<ab>", "<AB>true"]);
    }
    assert!(Judge::tiny().problem(&Grammar::Lark("start: nothing".to_owned())).contains("nothing"));
}
