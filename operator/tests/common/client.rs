//! A client of Redis: one command and one answer at a time.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::secured;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Text(String),
    Error(String),
    Integer(i64),
    Nil,
    List(Vec<Reply>),
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Error(text) => text,
            _ => "",
        }
    }

    pub(crate) fn list(&self) -> &[Self] {
        if let Self::List(items) = self { items } else { &[] }
    }

    /// The value of a field, where an answer is a flat list of fields and values.
    pub(crate) fn field(&self, name: &str) -> &str {
        let pair = self.list().chunks(2).find(|pair| pair[0].text() == name);
        pair.and_then(|pair| pair.get(1)).map_or("", Self::text)
    }
}

pub(crate) struct Client(BufReader<Box<dyn Stream>>);

/// With TLS or without.
trait Stream: io::Read + io::Write + Send {}

impl<T: io::Read + io::Write + Send> Stream for T {}

impl Client {
    /// The user of the tests may do everything; its password is its name.
    pub(crate) fn connect(address: &str, port: u16) -> io::Result<Self> {
        let socket: SocketAddr = format!("{address}:{port}").parse().unwrap();
        let stream = TcpStream::connect_timeout(&socket, Duration::from_millis(500))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match secured::trusted(address) {
            None => Box::new(stream),
            Some(trusted) => Box::new(secured::secure(stream, address, &trusted)?),
        };
        let mut client = Self(BufReader::new(stream));
        match client.call(&["AUTH", "tester", "tester"])? {
            Reply::Text(_) => Ok(client),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    pub(crate) fn call(&mut self, command: &[&str]) -> io::Result<Reply> {
        let parts: Vec<String> =
            command.iter().map(|part| format!("${}\r\n{part}\r\n", part.len())).collect();
        let text = format!("*{}\r\n{}", command.len(), parts.concat());
        self.0.get_mut().write_all(text.as_bytes())?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let rest = line[1..].trim_end();
        let number = || rest.parse::<i64>().map_err(io::Error::other);
        Ok(match &line[..1] {
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Integer(number()?),
            "$" | "*" if rest == "-1" => Reply::Nil,
            "$" => {
                let mut bytes = vec![0; usize::try_from(number()?).unwrap() + 2];
                self.0.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            "*" => Reply::List((0..number()?).map(|_| self.reply()).collect::<io::Result<_>>()?),
            _ => return Err(io::Error::other(line)),
        })
    }
}

/// One command on a connection of its own.
pub(crate) fn ask(address: &str, port: u16, command: &[&str]) -> io::Result<Reply> {
    Client::connect(address, port)?.call(command)
}
