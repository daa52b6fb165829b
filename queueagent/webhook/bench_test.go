package webhook

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"
)

// newNullApplication answers 200 to each request that fits into one read, and
// allocates nothing for it.
func newNullApplication(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf, answer := make([]byte, 16<<10), []byte(ok200)
		for {
			n, err := c.Read(buf)
			if err != nil || !bytes.HasPrefix(buf[:n], []byte("POST ")) {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}()
	b.Cleanup(func() { _ = ln.Close(); <-done })
	return "http://" + ln.Addr().String()
}

// BenchmarkSend is one delivery over loopback, signed and not.
func BenchmarkSend(b *testing.B) {
	for name, secret := range map[string]string{"plain": "", "signed": "secret"} {
		b.Run(name, func(b *testing.B) {
			url := newNullApplication(b)
			s := newSender(b, Config{URL: url + "/tasks/{type}", Secret: secret}, Task{Traceparent: "traceparent"})
			lease := &fakeLease{}
			r := &Request{ID: "0af7651916cd43dd8448eb211c80319c-12345-678", Payload: `{"type":"email","data":{"to":"somebody@example.com","n":1}}`, Attempt: 1, Reason: "first", First: time.Now()}
			b.ReportAllocs()
			for b.Loop() {
				if a := s.Send(context.Background(), lease, r); a.Status != 200 {
					b.Fatal(a)
				}
			}
			s.Close()
		})
	}
}
