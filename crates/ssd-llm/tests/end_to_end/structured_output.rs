//! A schema, a grammar or a regular expression on the command line holds the answer to it.

use std::io::Write;

use serde_json::Value;
use testkit::real_model;

use crate::support::{Tiny, call, json, number, text_of};

const PERSON: &str = r#"{"type": "object", "required": ["name", "age"], "properties":
    {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 150}}}"#;

/// One of several lines, of which each has as many brackets on either side.
const BRACKETS: &str = "root ::= (line \"\\n\"){1,2}\nline ::= \"[\" line \"]\" | \"x\"";

fn answer(model: &str, flags: &[&str]) -> String {
    call(&[&["run", model, "--raw", "-p", "the", "--temperature", "1", "--seed", "3", "-n", "400"], flags].concat())
        .text()
}

/// A file with this text.
fn file(text: &str) -> tempfile::TempPath {
    let mut file = tempfile::NamedTempFile::new().expect("there is a folder for temporary files");
    file.write_all(text.as_bytes()).expect("the file takes its text");
    file.into_temp_path()
}

fn is_person(text: &str) -> bool {
    let person: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    person["name"].is_string() && person["age"].as_u64().is_some_and(|age| age <= 150)
}

#[test]
fn a_schema_makes_an_object() {
    let model = Tiny::plain();
    assert!(is_person(&answer(model.path(), &["--json-schema", PERSON])));
    let schema = file(PERSON);
    assert!(is_person(&answer(model.path(), &["--json-schema", &format!("@{}", text_of(&schema))])));
}

#[test]
fn a_schema_makes_an_object_of_what_a_real_model_knows() {
    let question = "The mayor of Rome is called Ada and is 36 years old. Who is the mayor, in JSON?";
    let run = json(&["run", &real_model!(), "-p", question, "--temperature", "0", "--json-schema", PERSON]);
    assert_eq!(run["finish_reason"], "stop");
    let text = run["text"].as_str().expect("a text");
    assert!(is_person(text) && text.contains("Ada"), "{text}");
}

#[test]
fn a_grammar_makes_its_texts() {
    let model = Tiny::plain();
    let grammar = file(BRACKETS);
    for flag in [BRACKETS, &format!("@{}", text_of(&grammar))] {
        let text = answer(model.path(), &["--grammar", flag]);
        for line in text.lines() {
            let depth = line.find('x').expect("an x");
            assert_eq!(line, format!("{}x{}", "[".repeat(depth), "]".repeat(depth)));
        }
        assert!((1..=2).contains(&text.lines().count()), "{text:?}");
    }
}

#[test]
fn a_regular_expression_matches_all_of_the_answer() {
    let text = answer(Tiny::plain().path(), &["--regex", "[a-f]{4}-(yes|no)"]);
    let (letters, word) = text.trim_end().split_once('-').expect("a dash");
    assert!(letters.len() == 4 && letters.bytes().all(|byte| (b'a'..=b'f').contains(&byte)), "{text}");
    assert!(["yes", "no"].contains(&word), "{text}");
}

#[test]
fn lark_makes_its_texts() {
    let lark = "start: \"<\" WORD \">\" %json { \"enum\": [1, 2] }\nWORD: /[a-z]{3}/";
    let text = answer(Tiny::plain().path(), &["--lark", lark]);
    let (word, number) = text.trim_end()[1..].split_once('>').expect("a bracket");
    assert!(word.len() == 3 && ["1", "2"].contains(&number), "{text}");
}

#[test]
fn a_memory_budget_counts_what_a_grammar_takes() {
    let model = real_model!();
    let run = |flags: &[&str]| {
        let fixed = ["run", &model, "-p", "Hello", "-n", "2", "--memory-budget", "100M", "--ctx", "256"];
        json(&[&fixed, flags].concat())
    };
    let (plain, bound) = (run(&[]), run(&["--json-schema", PERSON]));
    let given = number(&plain, "memory.pinned_bytes") - number(&bound, "memory.pinned_bytes");
    assert!(given > 20e6, "weights left {given} bytes to the grammar");
    assert!(number(&bound, "memory.peak_bytes") <= number(&bound, "memory.budget_bytes"), "{bound}");
}

#[test]
fn a_limit_cuts_an_answer_short_and_says_so() {
    let model = Tiny::plain();
    let run = json(&["run", model.path(), "--raw", "-p", "the", "-n", "3", "--regex", "[a-z]{40}"]);
    assert_eq!((&run["finish_reason"], run["tokens"].as_array().map(Vec::len)), (&"length".into(), Some(3)));
}

#[test]
fn what_is_wrong_with_a_grammar_is_said() {
    let model = Tiny::plain();
    let refused = |flags: &[&str], code: i32| call(&[&["run", model.path(), "-p", "x"], flags].concat()).refused(code);
    assert!(refused(&["--json-schema", "{"], 2).contains("--json-schema is not valid JSON"));
    assert!(refused(&["--json-schema", r#"{"not": {}}"#], 2).contains("\"not\""));
    assert!(refused(&["--json-schema", "@/no/such/file"], 1).contains("cannot read /no/such/file"));
    assert!(refused(&["--grammar", "root ::= other"], 2).contains("\"other\" is not defined"));
    assert!(refused(&["--regex", "("], 2).contains("unclosed group"));
    assert!(refused(&["--lark", "start: nothing"], 2).contains("nothing"));
    assert!(refused(&["--regex", "a", "--grammar", "root ::= \"a\""], 2).contains("cannot be used with"));
}
