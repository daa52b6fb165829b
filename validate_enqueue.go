package pillion

import "fmt"

// enqueue checks the field by which the application adds tasks.
func (v *validator) enqueue() {
	const key, remedy = "enqueue.header", "use another header for one of the two"
	e := v.cfg.Enqueue
	if e.Enabled && len(v.cfg.Queues) == 0 {
		v.add("enqueue.enabled", "true", "has no queue to add tasks to", "add one to queues, or write enqueue: false")
	}
	if !v.headerName(key, e.Header) {
		return
	}
	v.notIdentity(key, e.Header)
	name := headerTwin(e.Header)
	for i, src := range v.cfg.Session.Sources {
		if src.Header != "" && headerTwin(src.Header) == name {
			v.add(key, e.Header, fmt.Sprintf("is also session.sources[%d]", i), remedy)
		}
	}
	if headerTwin(v.cfg.Session.LifecycleHeader) == name {
		v.add(key, e.Header, "is also session.lifecycle_header", remedy)
	}
	if headerTwin(v.cfg.Server.RequestID) == name {
		v.add(key, e.Header, "is also server.request_id", remedy)
	}
}
