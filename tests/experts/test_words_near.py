"""The words expert on lines near to what it listens for, written for this test: it hardly ever speaks.

They are what people say at work, in shops, on the road and at home. Nearly each holds a word or a turn that
shows a state elsewhere, used here for something else.
"""

import pytest

from silent_words import assert_silent_on_nearly_all

ENGLISH = """
What happened in the second half of the match is on page nine.
What is wrong with the old design, the author asks, is its weight.
Where is the remote control?
Where have you been on holiday?
Why didn't you take the earlier train?
Why would a hinge need two screws?
Do you know what time the shop closes?
Do you have any idea where the stapler is?
How can you open the file without a password?
How do you know that the cake is done?
How long are you staying in town?
Why do I have to fill in both forms?
What do you want on your sandwich?
What do you think of the new logo?
Are you trying to book for two or for three?
Are you hiding the eggs in the garden this year?
I said no to the newspaper subscription.
The bus stops right there.
You can't do this course online.
Stop at the bakery on the way home.
Put it down next to the printer.
Get up at six and walk the dog.
Open the door for the courier, please.
Come back here on Tuesday for the results.
You had better keep the receipt.
That is enough paint for both walls.
Don't move the slider while it records.
The dogs don't understand the command.
You should have received an email by now.
You could have a look at the manual.
The match was moved because of the rain.
You always do the salad first and then the soup.
You made two copies of the contract.
The treaty treats the islands like a province.
They used my old address on the envelope.
You are the one who has the key to the shed.
The leaves have changed colour.
He made a mistake in the third line.
It happened because of a loose wire.
He is late because of the roadworks.
The paint is dry, are you ready for the second coat?
Now what about the invoice from March?
We were waiting for the lift.
Be quiet in the reading room, says the sign.
The mess hall opens at noon.
A boring machine digs the tunnel.
The word pain means bread in French.
The band plays the same old songs at every fair.
We have to get out at the next stop.
The guests are coming at eight.
Hide the column in the spreadsheet.
The nurse will be back in an hour.
He hasn't come to the office since May.
She isn't in the phone book.
Is it serious music or pop?
Will he live in the dormitory or at home?
We are running out of printer paper.
The pressure in the tyre is too low.
He is not answering emails this week.
She has gone to the post office.
The sale is over on Sunday.
We can't go back through the same gate.
I want to be at the airport by five.
The goodbye party is in room six.
There is no point in painting it before summer.
Give me another minute to find the page.
I need one more chair.
Let him go first, he has only one item.
Please wake up the projector with this button.
I can explain the second graph after lunch.
It wasn't me who booked the room, it was Lisa.
I didn't do the dishes yet.
The pump worked until the update.
Look at that column in the table, please.
I always wanted my coffee black.
My favourite tools are in the red box.
A drink to go, please.
The house is going to be painted.
There is still milk in the fridge.
Tomorrow is another delivery.
I would do anything else on that day, I have time.
You mean the left button?
It is you that the clerk will call.
So that is the key for the cellar.
I thought you were in the Berlin office.
Three hundred grams, is that right?
Who told you about the flat?
Are you sure about the date?
Have you eaten at the new place on the corner?
You look like your aunt in this photo.
Did you sleep on the train or in the hotel?
Take care of the plants on Wednesday.
Let me help the next customer.
The order will work out cheaper online.
I will protect the table with a cloth.
You can count on your fingers.
You think you can carry both bags?
What do you know about this printer model?
That is a big deal for the local paper.
So what time shall we meet?
""".strip().splitlines()

CHINESE = """
后来发生了什么，书里没有写。
出发的时间是几点？
这个人呢，是我们的会计。
你为什么不坐地铁？
你怎么才能到那里？
你知道几点开门吗？
你知道我家的地址吗？
他干嘛去了？
你要我怎么写这个标题？
你要闹钟还是手机叫醒？
桌子上有什么东西？
这件事情我还没跟经理说。
我不去，你们去吧。
我不吃辣的。
这样不行，螺丝太短。
这里不许停车。
上课不准吃东西。
跟这件事有关系的文件在柜子里。
再也没有比这更近的路了。
你说话的声音可以大一点。
请把话筒放下。
他说清楚了地点。
演出还没开始，大家先坐。
都是因为下雨才改的时间。
这家店是去年开的。
他根本用不着换车。
她变了发型。
我看错了时间表。
这本书怪有名的。
他又在骗孩子喝药。
小偷电影里常有。
我把它当成了书签。
下次开会又是星期一。
又等了十分钟，车来了。
请安静一下，我们开始点名。
这个破折号要改成逗号。
别提前出门，路不远。
快点餐吧，服务员在等。
能不能快递到付？
麻烦你把单子给我。
多事之秋是个成语。
催化剂在第二个瓶子里。
这里的味道是柠檬味。
什么味道的冰淇淋最便宜？
头发疼惜一点用护发素。
他不敢吃辣。
她昨晚做了一个梦。
电话没接线，插上就好。
他还没回来，你坐一会儿。
这种鱼刺不严重影响口感。
灯悬着装比较好。
轮胎的压力是二点五。
我把手机丢在车上了。
他一个人住在学校旁边。
会议结束了，大家可以走了。
我们分手机套，一人一个。
他走了两站路。
不爱吃香菜的人不少。
他一个人待在办公室写报告。
回不去的信件放在这里。
请相信系统的提示。
你先别走这条路，前面在修。
他离开公司的时候是六点。
帮帮我妹妹搬一下书。
闹钟响了，他醒了就去上班。
给我一次性杯子就行。
不是我做的表，是小李做的。
我什么都带了，可以出发。
他们误会议时间是三点。
听我念一遍地址。
成了会员可以打折。
行了李记的面馆在对面。
请看第三页。
终于到了换季的时候。
喝一杯咖啡要三十块。
今天的日子写在左上角。
还有两个机会名额。
明天会下雨。
交给我的文件是复印件。
我愿意去北京出差。
在一起的还有两份附件。
你们对我的地址有记录吗？
她今天穿的是黑外套。
原来的地址写错了。
这不是真的皮，是仿皮。
他什么时候来的上海？
一百块够了。
你怎么知道路的？看地图吗？
谁告诉司机地址？
密码输错了。
你确定一下人数。
脸色的英文怎么写？
这条鱼瘦了一点。
多吃青菜，书上这样写。
要不要去医院门口接你？
这么晚的班车还有吗？
慢慢来的那辆车是公交。
加油站在前面。
没事的人可以先走。
你懂什么语言？
""".strip().splitlines()


@pytest.mark.parametrize("lines", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_lines_that_are_near_to_a_feeling_and_tell_none_stay_without_a_state(lines: list[str]) -> None:
    assert_silent_on_nearly_all(lines)
