package webhook_test

import (
	"crypto/tls"
	"fmt"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

// A path on an application that listens on a Unix socket, and one on an application that a
// program reaches by TLS settings of its own.
func ExampleApp() {
	socket := webhook.App{Address: "/run/app/app.sock"}
	secure := webhook.App{Address: "10.0.0.2:8443", Host: "app.internal", TLS: &tls.Config{ServerName: "app.internal"}}
	for _, app := range []webhook.App{socket, secure} {
		cfg := webhook.Config{URL: "/tasks/{type}", App: app, Timeout: 30 * time.Second}
		e, err := webhook.New(cfg, webhook.Task{Type: "type"}, "tasks", 10)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(e.URL())
	}
	// Output:
	// http://unix:/run/app/app.sock:/tasks/{type}
	// https://app.internal/tasks/{type}
}
