// Package rules compiles match conditions into an immutable table and finds the
// first one, in file order, that a request meets.
//
// The table is an index: a trie over the path's segments for each host, so that a
// match costs the same with ten rules as with a thousand. A match allocates nothing
// and does work bounded by the length of the request times that of the patterns it
// comes by: no pattern backtracks exponentially.
//
// # The canonical path
//
// Patterns are compared byte for byte with a path in this form, which the caller
// makes and Compile gives to the literal parts of patterns as well:
//
//   - escapes of unreserved characters (A-Z a-z 0-9 - . _ ~) are decoded;
//   - every other escape is kept, with capital hexadecimal digits;
//   - "/" and !$&'()*+,;=:@ stand as they were sent; every other byte, such as a
//     space or one of a non-ASCII letter, is percent-encoded;
//   - no segment is "." or "..".
//
// # Path patterns
//
// A segment is what stands between two slashes; "/a/" has the segments "a" and "".
//
//   - "*" as a whole segment matches one segment that is not empty; as a part of one
//     it matches any characters, also none: "/img/*.png".
//   - "{name}" as a whole segment matches one segment that is not empty and captures it.
//   - "**" as a whole segment matches any number of segments, also none:
//     "/static/**" matches "/static", "/static/" and "/static/css/a.css";
//     "/**/feed" matches "/feed" and "/blog/feed".
package rules
