package webhook

import (
	"bufio"
	"context"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"
)

// readyTimeout bounds one question. An application that takes longer for it is busy.
const readyTimeout = 2 * time.Second

// newReadyTarget reads webhook.ready: a URL, or a path on the webhook's host.
func newReadyTarget(hook *target, ready string, t TLS) (*target, error) {
	if ready == "" {
		return nil, nil
	}
	return newTarget("webhook.ready", ready, hook.place, t)
}

// NotReadyError says what the application answered instead of a 2xx.
type NotReadyError struct{ Status int }

func (e NotReadyError) Error() string {
	return fmt.Sprintf("webhook.ready answers with status %d: want a 2xx", e.Status)
}

// Ready asks the application whether it can take tasks, on a connection of its own.
// nil means that it can; without webhook.ready it always does. It ends with ctx.
func (e *Endpoint) Ready(ctx context.Context) error {
	if e.ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, min(readyTimeout, e.timeout))
	defer cancel()
	t := newTransport(e.ready)
	until, _ := ctx.Deadline()
	if err := t.dial(ctx, until); err != nil {
		return err
	}
	defer t.close()
	conn := t.conn
	_ = conn.SetDeadline(until)
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	var resp fasthttp.Response
	if err := e.askReady(bufio.NewReaderSize(t, maxHead), t.write, &resp); t.refused(err) {
		return t.explained(err)
	} else if err != nil {
		return err
	}
	if resp.StatusCode()/100 != 2 {
		return NotReadyError{resp.StatusCode()}
	}
	return nil
}

func (e *Endpoint) askReady(br *bufio.Reader, write func(message) error, resp *fasthttp.Response) error {
	head := append([]byte("GET "), e.ready.parts[0]...)
	head = append(head, " HTTP/1.1\r\n"...)
	head = appendLine(head, "Host", e.ready.host)
	head = appendLine(head, "User-Agent", userAgent)
	head = appendLine(head, "Connection", "close")
	if err := write(message{head: append(head, "\r\n"...)}); err != nil {
		return err
	}
	if _, err := br.Peek(1); err != nil {
		return err // why there is no answer: what reads the header does not tell
	}
	for {
		// An interim answer (RFC 9110 section 15.2) is not the answer. The body does not
		// matter.
		if err := resp.Header.Read(br); err != nil || resp.StatusCode()/100 != 1 || resp.StatusCode() == fasthttp.StatusSwitchingProtocols {
			return err
		}
	}
}
