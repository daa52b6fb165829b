// Package wire reads requests off client connections. It stands between the socket
// and fasthttp: each head is checked byte by byte before fasthttp sees it, so that
// there is one reading of where a message ends, and fasthttp gets one head at a
// time, without the fields that say how the body is framed. The body is read here
// too, strictly, when the handler wants it: only then is "100 Continue" said.
//
// What is refused reaches the handler as well, as a request whose Message has a
// Refusal: every refusal is answered, counted and logged in one place.
package wire

import (
	"fmt"
	"time"
)

// Limits bound what a client may do on a connection.
type Limits struct {
	// Header bounds the wait for the rest of a head once its first byte is there.
	Header time.Duration
	// Body bounds the wait for each part of a body.
	Body time.Duration
	// MaxHeader bounds the bytes of a head.
	MaxHeader int
	// MaxConnections bounds the open connections of a Listener.
	MaxConnections int
	// MaxRequests bounds the requests of a connection; 0 is no bound. See Conn.Expired.
	MaxRequests int
	// Idle bounds the wait for the next request, and Write that for the client to take
	// an answer, of Direct; the server that reads from the Conn has bounds of its own.
	Idle, Write time.Duration
	// MaxAge ends the use of a connection for further requests; 0 is no bound.
	MaxAge time.Duration
}

// Refusal says why a request is not served. It is an error of Body.Read too.
type Refusal struct {
	Status int
	Reason string // for metrics
	Detail string
}

func (r *Refusal) Error() string { return fmt.Sprintf("%s (%d)", r.Detail, r.Status) }

// Message is what the framing of the request says that is being served.
type Message struct {
	// Size is the length of the body: 0 for none, -1 when it is chunked.
	Size int64
	// HasLength says that there was a Content-Length.
	HasLength bool
	// Refusal, when set, is the answer to what was no request.
	Refusal *Refusal
	// Head says that the method is HEAD: its client reads no body, of a refusal either.
	Head bool

	expect bool // 100 Continue is waited for
	http10 bool
}

// maxDrain is how much of a body that nobody read is read to keep the connection.
const maxDrain = 64 << 10

var (
	refuseMalformed = Refusal{400, "malformed", "The request line is not a method, a target and a version with one space between them."}
	refuseVersion   = Refusal{505, "version", "The HTTP version is neither 1.0 nor 1.1."}
	refuseLineEnd   = Refusal{400, "line_end", "A header line does not end with CR LF."}
	refuseFold      = Refusal{400, "folded_line", "A header line begins with white space."}
	refuseValue     = Refusal{400, "field_value", "A field value holds a control character."}
	refuseTarget    = Refusal{414, "target_too_long", "The request line is longer than server.max_header."}
	refuseHeader    = Refusal{431, "header_too_large", "The header is larger than server.max_header."}
	refuseFraming   = Refusal{400, "framing", "Content-Length and Transfer-Encoding are both given, given twice, or not understood."}
	refuseCoding    = Refusal{501, "transfer_coding", "The only transfer coding that is understood is chunked."}
	refuseExpect    = Refusal{417, "expectation", "The only expectation that is understood is 100-continue."}
	refuseTimeout   = Refusal{408, "timeout", "The request did not arrive in time."}
	refuseBody      = Refusal{413, "body", "The body is larger than is allowed here."}
	refuseChunk     = Refusal{400, "chunked", "The chunked coding of the body is malformed."}
	refuseTrailer   = Refusal{400, "trailer", "The trailer section of the body is malformed or too large."}
)
