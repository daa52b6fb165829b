// Package sessioncheck says whether a request carries a valid session of the
// application: its id is found in the request's headers, the session in Redis or in
// memory that Redis keeps coherent.
//
// A check has one of three outcomes that are never confused: Valid, Absent (there is
// no such session, or the credential is refused) and Unknown (Redis gave no answer).
// The check of a session that is in memory costs no Redis command and no allocation.
//
// What the application stored is read as its framework wrote it: the package formats
// has the readers, and verifies what the client sends. JSON is an object of at most
// 64 KiB, 32 levels deep, in UTF-8; of two members with one name the last counts. A
// session that is none of that counts as Absent, since no outage explains it, and is
// logged.
//
// The package knows nothing of HTTP servers: it reads raw header lines, or
// lines that have been taken apart.
package sessioncheck
