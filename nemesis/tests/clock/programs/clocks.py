# Says what time it is, waits 400 ms, and says that it has.
import time

print(time.time_ns(), flush=True)
time.sleep(0.4)
print("done", flush=True)
