-- Servers of the cluster that call durable what is not on their disks yet.
SELECT hasty.nodename || ':' || hasty.nodeport
FROM run_command_on_workers('SHOW synchronous_commit') AS hasty
WHERE hasty.result = 'off'
