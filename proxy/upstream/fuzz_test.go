package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/proxy/chunked"
)

// readHeadFrom runs the head reader of an exchange over a Reader.
func readHeadFrom(rd io.Reader, h *fasthttp.ResponseHeader) (head, []byte, error) {
	cn := &conn{br: bufio.NewReaderSize(rd, readBuffer)}
	x := exchange{
		c:  &Client{opt: options{maxHead: defaultMaxHead}},
		cn: cn, ctx: context.Background(), r: new(Request),
	}
	n, err := x.readHead()
	if err == nil {
		err = x.load(n, h)
	}
	if err != nil {
		return x.hd, nil, err
	}
	rest, _ := io.ReadAll(cn.br)
	return x.hd, rest, nil
}

// FuzzHead: what is accepted, is accepted in any division into packets, ends at
// the same byte for net/http, and means the same framing there.
func FuzzHead(f *testing.F) {
	for _, a := range awkwards {
		if len(a.send) < readBuffer {
			f.Add([]byte(a.send))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) >= readBuffer {
			return // growing the buffer needs a real source
		}
		in = bytes.Clone(in)
		var h, h1 fasthttp.ResponseHeader
		hd, rest, err := readHeadFrom(bytes.NewReader(in), &h)
		hd1, rest1, err1 := readHeadFrom(iotest.OneByteReader(bytes.NewReader(in)), &h1)
		if (err == nil) != (err1 == nil) || !bytes.Equal(rest, rest1) || (err == nil && hd != hd1) {
			t.Fatalf("whole: %+v %q %v; by bytes: %+v %q %v", hd, rest, err, hd1, rest1, err1)
		}
		if err != nil {
			return
		}
		if !bytes.HasSuffix(in[:len(in)-len(rest)], []byte("\r\n\r\n")) || h.StatusCode() != hd.status {
			t.Fatalf("ends in %q, status %d and %d", in[:len(in)-len(rest)], h.StatusCode(), hd.status)
		}
		agree(t, in, hd, rest)
	})
}

// agree compares with net/http, which is laxer: it may refuse for reasons of its
// own, but must not understand something else.
func agree(t *testing.T, in []byte, hd head, rest []byte) {
	br := bufio.NewReaderSize(bytes.NewReader(in), len(in)+16)
	res, err := http.ReadResponse(br, &http.Request{Method: "GET"})
	if err != nil {
		return
	}
	if res.StatusCode != hd.status {
		t.Fatalf("status %d, net/http %d", hd.status, res.StatusCode)
	}
	// RFC 9112 §5.1 has a proxy drop the space before a colon; net/http keeps it, and
	// so does not know the field.
	if hd.bodiless() || bytes.Contains(in, []byte(" :")) {
		return
	}
	want := hd.length
	if res.ContentLength != want || (len(res.TransferEncoding) > 0) != hd.chunked {
		t.Fatalf("length %d chunked %v, net/http %d %v", hd.length, hd.chunked, res.ContentLength, res.TransferEncoding)
	}
	if left, _ := io.ReadAll(br); !bytes.Equal(left, rest) {
		t.Fatalf("the head ends before %q, for net/http before %q", rest, left)
	}
}

func readChunks(rd io.Reader, p []byte) (out, trailers, rest []byte, err error) {
	br := bufio.NewReaderSize(rd, readBuffer)
	var d chunks
	d.reset()
	for err == nil {
		var n int
		n, err = d.read(br, p)
		if n == 0 && err == nil {
			return out, nil, nil, errors.New("no progress")
		}
		out = append(out, p[:n]...)
	}
	if err == io.EOF {
		if !d.dec.Done() {
			return out, nil, nil, errors.New("io.EOF before the end")
		}
		err = nil
	}
	rest, _ = io.ReadAll(br)
	return out, d.trailers(nil), rest, err
}

// FuzzChunked: the same result in any division into packets and reads, and what
// is accepted decodes to the same bytes, and the same trailers, in net/http.
func FuzzChunked(f *testing.F) {
	for _, a := range awkwards {
		if _, chunks, found := bytes.Cut([]byte(a.send), []byte("\r\n\r\n")); found && len(chunks) < 1<<12 {
			f.Add(chunks)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, trailers, rest, err := readChunks(bytes.NewReader(in), make([]byte, 1<<16))
		for name, rd := range map[string]io.Reader{
			"by bytes": iotest.OneByteReader(bytes.NewReader(in)), "in halves": iotest.HalfReader(bytes.NewReader(in)),
			"at once": bytes.NewReader(in), "data with EOF": iotest.DataErrReader(bytes.NewReader(in)),
		} {
			out1, trailers1, rest1, err1 := readChunks(rd, make([]byte, 7))
			if !bytes.Equal(out, out1) || !bytes.Equal(trailers, trailers1) || (err == nil) != (err1 == nil) || (err == nil && !bytes.Equal(rest, rest1)) {
				t.Fatalf("%s: %q %q %v; whole: %q %q %v", name, out1, rest1, err1, out, rest, err)
			}
		}
		if err != nil {
			if !errors.Is(err, ErrBadResponse) && err != io.ErrUnexpectedEOF {
				t.Fatalf("error %v", err)
			}
			return
		}
		ref, refErr := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(in)))
		if refErr == nil && !bytes.Equal(ref, out) {
			t.Fatalf("%q, net/http %q", out, ref)
		}
		agreeOnTrailers(t, in, trailers)
	})
}

// agreeOnTrailers reads what is passed on as a client would, and compares it with
// what net/http finds in the whole message.
func agreeOnTrailers(t *testing.T, in, trailers []byte) {
	if err := checkTrailers(trailers); err != nil || len(trailers) > chunked.MaxTrailers {
		t.Fatalf("%q: %v", trailers, err)
	}
	got, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(trailers, "\r\n"...)))).ReadMIMEHeader()
	if err != nil {
		t.Fatalf("%q: %v", trailers, err)
	}
	for name := range got {
		if !MayTrail([]byte(name)) {
			t.Fatalf("%q has %s", trailers, name)
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(chunkedResponse("")), bytes.NewReader(in))), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return // net/http is stricter, such as about bytes above ASCII
	}
	for name := range res.Trailer {
		if !MayTrail([]byte(name)) {
			delete(res.Trailer, name)
		}
	}
	if len(got) != len(res.Trailer) || len(got) > 0 && !reflect.DeepEqual(got, textproto.MIMEHeader(res.Trailer)) {
		t.Fatalf("%q, net/http %q", got, res.Trailer)
	}
}

// FuzzTrailers: what is accepted for a request's trailers is read as these fields by
// net/http, and as nothing else.
func FuzzTrailers(f *testing.F) {
	for _, seed := range []string{"", "X: y\r\n", "X: y\r\nZ:\r\n", "\r\n", "X: y\r\n\r\nGET / HTTP/1.1\r\n", "X: y", "X : y\r\n", " X: y\r\n", "X: a\nb\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, lines []byte) {
		if checkTrailers(lines) != nil {
			return
		}
		in := append(append([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"), lines...), "\r\nnext"...)
		br := bufio.NewReader(bytes.NewReader(in))
		req, err := http.ReadRequest(br)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		if rest, _ := io.ReadAll(br); string(rest) != "next" {
			t.Fatalf("%q leaves %q", lines, rest)
		}
	})
}
