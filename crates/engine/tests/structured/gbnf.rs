//! Grammars in llama.cpp's format, such as people write them: JSON, arithmetic, lists, chess, a little language.

use engine::Grammar;

use crate::support::Judge;

const JSON: &str = r#"
# An object, with values of all kinds.
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws

# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | " " | "\n" [ \t]{0,20}
"#;

const ARITHMETIC: &str = r#"
root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
"#;

const LIST: &str = r#"
root ::= item+
# Excludes various line break characters
item ::= "- " [^\r\n\x0b\x0c\x85\u2028\u2029]+ "\n"
"#;

const CHESS: &str = r#"
root    ::= (
    "1. " move " " move "\n"
    ([1-9] [0-9]? ". " move " " move "\n")+
)
move    ::= (pawn | nonpawn | castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn    ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle  ::= "O-O" "-O"?
"#;

const PROGRAM: &str = r#"
root      ::= (statement)*
statement ::= ("let" sp name sp "=" sp expr ";" ws) | ("if" sp "(" expr ")" sp "{" ws statement* "}" ws) | (name "(" (expr ("," sp expr)*)? ")" ";" ws)
expr      ::= atom (sp [-+*/<>] sp atom)*
atom      ::= name | [0-9]+ | "(" expr ")" | "\"" [^"\n]* "\""
name      ::= [a-zA-Z_] [a-zA-Z_0-9]*
sp        ::= " "?
ws        ::= [ \n]*
"#;

fn gbnf(text: &str) -> Grammar {
    Grammar::Gbnf(text.to_owned())
}

/// On a vocabulary of bytes and on one where tokens span whatever they like.
fn check(text: &str, right: &[&str], wrong: &[&str]) {
    for judge in Judge::all() {
        judge.check(&gbnf(text), right, wrong);
    }
}

#[test]
fn json_is_json() {
    let right = [
        "{}",
        "{ }",
        r#"{"a": [1, -2.5e+3, true, null, "x\"y\u00e9 é"], "b": {"c": []}}"#,
        "{\"a\":\n  {\"b\": \"white space in here\"} }",
    ];
    check(
        JSON,
        &right,
        &["[]", "{\"a\"}", "{\"a\": 01}", "{\"a\": \"\n\"}", "{\"a\": 1,}", "{\"a\": tru}", "{\"a\": \"\\x\"}", "{"],
    );
}

#[test]
fn arithmetic_nests() {
    let right = ["1 +2=x\n", "(a*(b2 -3))/c = 12\n1=1\n", "a\n-b=\n1\n\n"];
    check(ARITHMETIC, &right, &["x=", "1+=2\n", "(1=1\n", "1=1", "A=1\n"]);
}

#[test]
fn a_list_has_lines() {
    check(LIST, &["- milk\n", "- a\n- b — ü\n"], &["milk\n", "- \n", "- a", "- a\u{2028}\n", "- a\n\n"]);
}

#[test]
fn chess_has_moves() {
    let right = ["1. e4 e5\n2. Nf3 Nc6\n3. Bb5 a6\n", "1. d4 d5\n10. O-O-O+ exd8=Q#\n", "1. e4 e5\n2. O-O Ngf3\n"];
    check(CHESS, &right, &["1. e4 e5\n", "2. e4 e5\n1. e4 e5\n", "1. e9 e5\n2. e4 e5\n", "1. e4\n2. e4 e5\n"]);
}

#[test]
fn names_and_keywords_stay_apart() {
    let right = ["let x = 1;", "letter(1, \"a b\");\nif(x < 2){let y=x+(3);} ", "iffy();", "", "lets();let l = \"\";"];
    check(PROGRAM, &right, &["let x = ;", "if (x) {", "f(1 2);", "f(\"a\nb\");"]);
}

#[test]
fn a_rule_may_call_itself_from_the_left() {
    check("root ::= root \"a\" | \"b\"", &["b", "baaa"], &["", "ab", "bb"]);
    check("root ::= \"(\" root \")\" | root root | \"\"", &["", "()", "(())()"], &["(", ")(", "(()"]);
}

#[test]
fn any_character_is_any() {
    check("root ::= .{2} \"x\" .*", &["abx", "éüx", "🦀\nx anything"], &["ax", "abc"]);
    check("root ::= [^a-zé]+", &["AÉ 🦀"], &["aA", "é", ""]);
}

#[test]
fn errors_are_told() {
    let judge = Judge::tiny();
    assert!(judge.problem(&gbnf("root ::= other")).contains("\"other\" is not defined"));
    assert!(judge.problem(&gbnf("root ::= root")).contains("no text satisfies it"));
    assert!(judge.problem(&gbnf("root = \"a\"")).contains("line 1"));
}
