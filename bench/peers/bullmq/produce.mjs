// BullMQ's producer in the load suite: puts tasks into its queues, all at once or one
// every now and then. node produce.mjs '{"redis":…,"mode":"bulk","tasks":1000,"queues":1}'
// With first and step, in microseconds since 1970, tasks are due at these times.
import { Queue } from 'bullmq'
import Redis from 'ioredis'

const o = JSON.parse(process.argv[2])
const filler = 'Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore magna aliqua. Ut enim ad minim'
const opts = { removeOnComplete: true, removeOnFail: false }
const queues = []
for (let i = 0; i < o.queues; i++) {
  queues.push(new Queue(`q${i}`, { connection: new Redis(o.redis, { maxRetriesPerRequest: null }) }))
}

const micros = () => Math.round((performance.timeOrigin + performance.now()) * 1000)
const data = (id, at) => ({ type: 't', data: { id, at, text: filler } })

async function bulk () {
  for (let begin = 0; begin < o.tasks; begin += 1000) {
    const jobs = []
    for (let id = begin; id < Math.min(begin + 1000, o.tasks); id++) {
      const due = o.first === undefined ? 0 : o.first + id * o.step
      const delay = due ? Math.max(0, Math.ceil(due / 1000 - Date.now())) : 0
      jobs.push({ name: 't', data: data(id, due), opts: { ...opts, delay } })
    }
    await queues[0].addBulk(jobs)
  }
}

async function trickle () {
  await Promise.all(queues.map((q) => q.waitUntilReady()))
  const began = performance.now()
  for (let id = 0; id < o.tasks; id++) {
    const wait = began + (id + Math.random() / 2) * o.every - performance.now()
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait))
    await queues[id % o.queues].add('t', data(id, micros()), opts)
  }
}

await (o.mode === 'trickle' ? trickle() : bulk())
process.exit(0)
