"""The door for suppliers and coordinators: pages and their JSON.

No logic of its own: what a delivery is, how it is judged and what it means is `quality`'s, and the pages call it as the
command line does. Here are routes, rights and words.
"""
