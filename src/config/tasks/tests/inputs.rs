//! The key `inputs`.

use super::*;

#[test]
fn inputs_are_read_and_their_defaults_are_variables() {
    let text = "[defaults]\ninputs = { a = {}, b = { default = 'x' } }\n\
                [task.t]\nrun = 'x'\nenv = { c = 'of env', d = 'of env' }\n\
                inputs = { b = { default = 'own', description = 'about b' }, c = { default = '' } }\n";
    let task = &parse(text)[0];
    let inputs: Vec<_> = task.placement.inputs.iter().map(|it| (&*it.name, it.default.as_deref())).collect();
    assert_eq!(inputs, [("a", None), ("b", Some("own")), ("c", Some(""))]);
    assert_eq!(task.placement.inputs[1].description, "about b");
    let env: Vec<_> = task.recipe.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["d=of env", "b=own", "c="]);
}

#[test]
fn what_is_no_input_is_told_with_its_place() {
    for (line, start) in [
        ("inputs = ['a']", "10: `inputs` must be a table"),
        ("inputs = { a-b = {} }", "12: `a-b` cannot name an input\n"),
        ("inputs = { '1a' = {} }", "12: `1a` cannot name an input\n"),
        ("inputs = { '' = {} }", "12: `` cannot name an input\n"),
        ("inputs = { SURVEIL_X = {} }", "12: `SURVEIL_X` is reserved: "),
        ("inputs = { a = 'x' }", "16: `a` must be a table, this is a string\n"),
        ("inputs = { a = { default = 1 } }", "28: `default` must be a string"),
        ("inputs = { a = { required = true } }", "18: unknown key `required` of an input\n"),
        (r#"inputs = { a = { default = "\u0000" } }"#, "28: the text has a NUL character\n"),
    ] {
        let error = line_error(line);
        assert!(error.starts_with(start), "{line}: {error}");
    }
    let many: String = (0..65).map(|at| format!("i{at} = {{}}, ")).collect();
    assert!(line_error(&format!("inputs = {{ {many} z = {{}} }}")).starts_with("10: a task has at most 64 inputs\n"));
}
