# A move as a Ruby program asks for it: its job once it has ended, a refusal, a fault and a batch, as JSON.
require "json"
require "xmlrpc/client"

service = XMLRPC::Client.new2(ARGV[0])
accepted = service.call("move", { "host" => "disk", "path" => ARGV[1] }, { "host" => "archive", "path" => ARGV[2] },
                        { "label" => "é <&> ]]>", "priority" => "high" })
job = accepted
while %w[PENDING IN_PROGRESS].include?(job["status"])
  sleep 0.1
  job = service.call("check", accepted["id"])
end
refusal = service.call("move", "birds", 12)
fault = begin
  service.call("nothing")
rescue XMLRPC::FaultException => e
  e.faultCode
end
batch = service.multicall(["check", accepted["id"].to_s], ["system.methodHelp", "check"])
puts JSON.generate({ job: job, refusal: refusal, fault: fault, batch: batch.map(&:class).map(&:name) })
