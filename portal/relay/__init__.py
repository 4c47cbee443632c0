"""What a mail admin runs beside the relay: who would come here (replay), is it set up right (doctor), and the queue agent, a
program of its own that Postfix hosts get as one file.
"""
