# Sends the jobs that the test expects: producer.rb REDIS_URL
require "sidekiq"

Sidekiq.configure_client { |config| config.redis = { url: ARGV[0] } }

class Billing
  class Invoice
    include Sidekiq::Worker
  end
end

10.times { |i| Billing::Invoice.perform_async(i, "für #{i}", { "a" => nil }) }
Sidekiq::Client.push("class" => "HardWorker", "args" => ["pushed"])
Sidekiq::Client.push_bulk("class" => "HardWorker", "args" => (0...10).map { |i| ["bulk", i] })
Billing::Invoice.perform_in(1.25, "later")
Billing::Invoice.set(queue: "low").perform_async("low")
