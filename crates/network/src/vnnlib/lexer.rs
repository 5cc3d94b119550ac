//! Parentheses and words, with their lines.

/// A piece of a VNN-LIB text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    Open,
    Close,
    Word(&'a str),
}

/// Splits a text into (line, token) pairs, lines counted from 1; comments and white space are dropped.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text, line: 1 }
    }

    fn skip_blanks(&mut self) {
        let mut is_comment = false;
        let mut characters = self.rest.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            match character {
                '\n' => (self.line, is_comment) = (self.line + 1, false),
                // A lone carriage return ends a line too; before a line feed it is part of it.
                '\r' if characters.peek().is_none_or(|&(_, next)| next != '\n') => {
                    (self.line, is_comment) = (self.line + 1, false);
                }
                ';' => is_comment = true,
                _ if is_comment || character.is_whitespace() => {}
                _ => {
                    self.rest = &self.rest[at..];
                    return;
                }
            }
        }
        self.rest = "";
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = (usize, Token<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_blanks();
        let ends_word = |character: char| matches!(character, '(' | ')' | ';') || character.is_whitespace();
        let (token, length) = match self.rest.chars().next()? {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            _ => {
                let length = self.rest.find(ends_word).unwrap_or(self.rest.len());
                (Token::Word(&self.rest[..length]), length)
            }
        };
        self.rest = &self.rest[length..];
        Some((self.line, token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<(usize, Token<'_>)> {
        Lexer::new(text).collect()
    }

    #[test]
    fn words_end_at_parentheses_blanks_and_comments() {
        let expected = [(1, Token::Open), (1, Token::Word("a")), (2, Token::Word("b")), (2, Token::Close)];
        assert_eq!(tokens("(a;c ( )\nb)"), expected);
        assert_eq!(tokens("( a\t; c\r\n\u{a0}b\u{2003})"), expected);
        assert_eq!(tokens("(a ;c\rb)"), expected);
    }

    #[test]
    fn blanks_alone_have_no_token() {
        assert_eq!(tokens(" \n\t ; nothing"), []);
        assert_eq!(tokens(""), []);
    }
}
