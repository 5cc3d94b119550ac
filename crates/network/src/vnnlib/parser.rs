//! Declarations and assertions, with an explicit stack so that nesting costs no recursion.

use std::collections::BTreeMap;

use super::formula::{Constraint, Linear, NormalForm, Variable};
use super::lexer::{Lexer, Token};
use crate::Error;
use crate::decimal::{Decimal, quoted};

/// Deepest nesting of an assertion.
const MAX_DEPTH: usize = 1000;

/// A text taken apart: what it declares and what it asserts.
#[derive(Debug)]
pub(super) struct Script {
    /// The line that declares each input.
    pub(super) input_lines: Vec<usize>,
    pub(super) n_outputs: usize,
    /// The comparisons, numbered as `violation` names them.
    pub(super) constraints: Vec<Constraint>,
    /// What all assertions say together.
    pub(super) violation: NormalForm,
}

#[derive(Debug)]
struct Parser<'a> {
    lexer: Lexer<'a>,
    /// Line of declaration by index.
    inputs: BTreeMap<usize, usize>,
    outputs: BTreeMap<usize, usize>,
    constraints: Vec<Constraint>,
}

/// What an expression stands for.
#[derive(Debug)]
enum Value {
    Term(Linear),
    Formula(NormalForm),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    And,
    Or,
    AtMost,
    AtLeast,
    Add,
    Subtract,
    Multiply,
}

/// An operator whose closing parenthesis has not come yet.
#[derive(Debug)]
struct Application {
    operator: Operator,
    name: String,
    line: usize,
    operands: Vec<Value>,
}

/// Takes a text apart.
///
/// # Errors
/// For anything that is not VNN-LIB 1.0, with its line.
pub(super) fn parse(text: &str) -> Result<Script, Error> {
    let mut parser =
        Parser { lexer: Lexer::new(text), inputs: BTreeMap::new(), outputs: BTreeMap::new(), constraints: Vec::new() };
    let mut assertions = Vec::new();
    let mut is_empty = true;
    while let Some((line, token)) = parser.lexer.next() {
        is_empty = false;
        match token {
            Token::Open => parser.command(line, &mut assertions)?,
            Token::Close => return Err(Error::format("unbalanced parentheses: this ')' closes nothing").at_line(line)),
            Token::Word(word) => {
                let message = format!("expected '(' and a command, found {}", quoted(word));
                return Err(Error::format(message).at_line(line));
            }
        }
    }
    if is_empty {
        return Err(Error::format("the file is empty: it declares and asserts nothing"));
    }
    let input_lines = contiguous(&parser.inputs, 'X')?;
    let n_outputs = contiguous(&parser.outputs, 'Y')?.len();
    let violation = NormalForm::all_of(assertions)?;
    Ok(Script { input_lines, n_outputs, constraints: parser.constraints, violation })
}

impl<'a> Parser<'a> {
    /// Reads a command after its opening parenthesis, which stood in line `opened`.
    fn command(&mut self, opened: usize, assertions: &mut Vec<NormalForm>) -> Result<(), Error> {
        let (line, name) = self.word(opened, "a command")?;
        match name {
            "declare-const" => self.declaration(opened)?,
            "assert" => match self.expression(opened)? {
                Value::Formula(formula) => assertions.push(formula),
                Value::Term(_) => {
                    return Err(Error::format("an assertion needs a formula, not a number or a variable").at_line(line));
                }
            },
            _ => {
                let message =
                    format!("the command {} is not supported; VNN-LIB has 'declare-const' and 'assert'", quoted(name));
                return Err(Error::format(message).at_line(line));
            }
        }
        match self.token(opened)? {
            (_, Token::Close) => Ok(()),
            (line, token) => {
                let message = format!("expected ')' at the end of '{name}', found {}", spelled(token));
                Err(Error::format(message).at_line(line))
            }
        }
    }

    fn declaration(&mut self, opened: usize) -> Result<(), Error> {
        let (line, name) = self.word(opened, "the name of a variable")?;
        let variable = variable(name).ok_or_else(|| {
            let message =
                format!("{} cannot be declared; inputs are X_0, X_1, … and outputs Y_0, Y_1, …", quoted(name));
            Error::format(message).at_line(line)
        })?;
        let (type_line, type_name) = self.word(opened, "the type Real")?;
        if type_name != "Real" {
            let message = format!("{name} has type {}; only Real is supported", quoted(type_name));
            return Err(Error::format(message).at_line(type_line));
        }
        let (declared, index) = match variable {
            Variable::Input(i) => (&mut self.inputs, i),
            Variable::Output(j) => (&mut self.outputs, j),
        };
        if let Some(first) = declared.insert(index, line) {
            return Err(Error::format(format!("{name} is declared twice, first in line {first}")).at_line(line));
        }
        Ok(())
    }

    /// Reads one expression of the command that opened in line `opened`.
    fn expression(&mut self, opened: usize) -> Result<Value, Error> {
        let mut open: Vec<Application> = Vec::new();
        loop {
            let innermost = open.last().map_or(opened, |application| application.line);
            let (line, token) = self.token(innermost)?;
            let value = match token {
                Token::Open => {
                    if open.len() == MAX_DEPTH {
                        let message = format!("parentheses are nested more than {MAX_DEPTH} deep");
                        return Err(Error::format(message).at_line(line));
                    }
                    open.push(self.application(line)?);
                    continue;
                }
                Token::Word(word) => Value::Term(self.atom(word).map_err(|error| error.at_line(line))?),
                Token::Close => match open.pop() {
                    Some(application) => {
                        let start = application.line;
                        self.apply(application).map_err(|error| error.at_line(start))?
                    }
                    None => return Err(Error::format("this assertion is empty").at_line(opened)),
                },
            };
            match open.last_mut() {
                Some(application) => application.operands.push(value),
                None => return Ok(value),
            }
        }
    }

    /// Reads the operator after an opening parenthesis in line `opened`.
    fn application(&mut self, opened: usize) -> Result<Application, Error> {
        let (line, name) = self.word(opened, "an operator")?;
        let operator = match name {
            "and" => Operator::And,
            "or" => Operator::Or,
            "<=" | "<" => Operator::AtMost,
            ">=" | ">" => Operator::AtLeast,
            "+" => Operator::Add,
            "-" => Operator::Subtract,
            "*" => Operator::Multiply,
            "assert" | "declare-const" => {
                let message =
                    format!("unbalanced parentheses: '{name}' inside an expression; a ')' is missing before this line");
                return Err(Error::format(message).at_line(line));
            }
            _ => {
                let message = format!("the operator {} is not supported (and or <= >= < > + - *)", quoted(name));
                return Err(Error::format(message).at_line(line));
            }
        };
        Ok(Application { operator, name: name.into(), line: opened, operands: Vec::new() })
    }

    fn atom(&self, word: &str) -> Result<Linear, Error> {
        if let Some(variable) = variable(word) {
            let (declared, index, letter) = match variable {
                Variable::Input(i) => (&self.inputs, i, 'X'),
                Variable::Output(j) => (&self.outputs, j, 'Y'),
            };
            if declared.contains_key(&index) {
                return Ok(Linear::variable(variable));
            }
            let known = match declared.last_key_value() {
                Some((last, _)) => format!("{letter}_0 to {letter}_{last} are"),
                None => format!("no {letter} is"),
            };
            return Err(Error::format(format!("{} is not declared; {known}", quoted(word))));
        }
        if word.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.')) {
            let number = Decimal::parse(word)?;
            if number.neighbours().is_none() {
                let message = format!("the number {} lies beyond the range of 64-bit floats", quoted(word));
                return Err(Error::format(message));
            }
            return Ok(Linear::constant(number));
        }
        Err(Error::format(format!("{} is neither a number nor a variable", quoted(word))))
    }

    fn apply(&mut self, application: Application) -> Result<Value, Error> {
        let Application { operator, name, line, operands } = application;
        let n_operands = operands.len();
        let is_comparison = matches!(operator, Operator::AtMost | Operator::AtLeast);
        if n_operands == 0 || is_comparison && n_operands != 2 {
            let expected = if is_comparison { "two operands" } else { "an operand" };
            return Err(Error::format(format!("'{name}' needs {expected}, got {n_operands}")));
        }
        if matches!(operator, Operator::And | Operator::Or) {
            let formulas: Option<Vec<NormalForm>> = operands.into_iter().map(Value::formula).collect();
            let formulas =
                formulas.ok_or_else(|| Error::format(format!("'{name}' joins formulas, not numbers or variables")))?;
            let joined =
                if operator == Operator::And { NormalForm::all_of(formulas) } else { NormalForm::any_of(formulas) };
            return joined.map(Value::Formula);
        }
        let terms: Option<Vec<Linear>> = operands.into_iter().map(Value::term).collect();
        let terms =
            terms.ok_or_else(|| Error::format(format!("'{name}' joins numbers and variables, not formulas")))?;
        let mut terms = terms.into_iter();
        let first = terms.next().expect("at least one operand was counted");
        let result = match operator {
            Operator::Multiply => terms.try_fold(first, Linear::times)?,
            Operator::Add => terms.try_fold(first, Linear::plus)?,
            Operator::Subtract if n_operands == 1 => first.negated(),
            Operator::Subtract | Operator::AtMost | Operator::AtLeast => {
                terms.try_fold(first, |sum, term| sum.plus(term.negated()))?
            }
            Operator::And | Operator::Or => unreachable!("joined above"),
        };
        if !is_comparison {
            return Ok(Value::Term(result));
        }
        let linear = if operator == Operator::AtMost { result } else { result.negated() };
        Ok(Value::Formula(match Constraint::at_most_zero(linear, line)? {
            Constraint::Constant(true) => NormalForm::always(),
            Constraint::Constant(false) => NormalForm::never(),
            constraint => {
                self.constraints.push(constraint);
                NormalForm::constraint(self.constraints.len() as u32 - 1)
            }
        }))
    }

    /// The next token, which must exist: something that opened in line `opened` is not closed.
    fn token(&mut self, opened: usize) -> Result<(usize, Token<'a>), Error> {
        self.lexer.next().ok_or_else(|| {
            let message = "unbalanced parentheses: the '(' of this line is never closed";
            Error::format(message).at_line(opened)
        })
    }

    fn word(&mut self, opened: usize, expected: &str) -> Result<(usize, &'a str), Error> {
        match self.token(opened)? {
            (line, Token::Word(word)) => Ok((line, word)),
            (line, token) => Err(Error::format(format!("expected {expected}, found {}", spelled(token))).at_line(line)),
        }
    }
}

impl Value {
    fn term(self) -> Option<Linear> {
        match self {
            Self::Term(term) => Some(term),
            Self::Formula(_) => None,
        }
    }

    fn formula(self) -> Option<NormalForm> {
        match self {
            Self::Formula(formula) => Some(formula),
            Self::Term(_) => None,
        }
    }
}

/// The variable of this name; an index has one spelling, so `X_01` is none.
fn variable(name: &str) -> Option<Variable> {
    let (letter, digits) = name.split_once('_')?;
    let is_canonical = digits == "0" || !digits.starts_with('0');
    if digits.is_empty() || !is_canonical || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let index = digits.parse().ok()?;
    match letter {
        "X" => Some(Variable::Input(index)),
        "Y" => Some(Variable::Output(index)),
        _ => None,
    }
}

/// The lines of declarations numbered from 0 without a gap.
fn contiguous(declared: &BTreeMap<usize, usize>, letter: char) -> Result<Vec<usize>, Error> {
    if declared.is_empty() {
        let what = if letter == 'X' { "inputs" } else { "outputs" };
        return Err(Error::format(format!("no {what} are declared ({letter}_0, {letter}_1, …)")));
    }
    for (expected, (&index, &line)) in declared.iter().enumerate() {
        if index != expected {
            let message = format!("{letter}_{index} is declared but {letter}_{expected} is not");
            return Err(Error::format(message).at_line(line));
        }
    }
    Ok(declared.values().copied().collect())
}

fn spelled(token: Token<'_>) -> String {
    match token {
        Token::Open => "'('".into(),
        Token::Close => "')'".into(),
        Token::Word(word) => quoted(word),
    }
}
